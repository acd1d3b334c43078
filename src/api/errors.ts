import type { FactErrorCode } from '../facts/index.ts';
import type { IdentityErrorCode } from '../identity/errors.ts';
import type { NodeErrorCode } from '../node/errors.ts';
import type { StoreErrorCode } from '../store/store.ts';

/** What the API itself refuses, before or beside the node. */
export type ApiErrorCode =
  | 'malformed_request'
  | 'json_invalid'
  | 'validation_failed'
  | 'authorization_required'
  | 'api_key_invalid'
  | 'auth_throttled'
  | 'rate_limited'
  | 'host_forbidden'
  | 'origin_forbidden'
  | 'key_in_query'
  | 'route_not_found'
  | 'method_not_allowed'
  | 'request_timeout'
  | 'body_too_large'
  | 'headers_too_large'
  | 'unsupported_media_type'
  | 'session_id_too_long'
  | 'cid_malformed'
  | 'too_many_clients'
  | 'answer_too_large'
  | 'internal_error';

/** Names, manifests, declarations and invites come from outside. What key files say ends a start; only one is written later. */
type IdentityProblemCode = Exclude<IdentityErrorCode, `key_${string}`> | 'key_unwritable';

export type ErrorCode = FactErrorCode | IdentityProblemCode | NodeErrorCode | StoreErrorCode | ApiErrorCode;

export interface ErrorEntry {
  readonly status: number;
  /** JSON-RPC error code. */
  readonly rpc: number;
  /** What this code means, whatever the case: the `title` of the problem. */
  readonly title: string;
  /** The text Stigmem's clients know for this refusal, where it is always the same. */
  readonly detail?: string;
}

/** JSON-RPC 2.0, section 5.1. */
export const RPC_PARSE_ERROR = -32700;
export const RPC_INVALID_REQUEST = -32600;
export const RPC_METHOD_NOT_FOUND = -32601;
export const RPC_INVALID_PARAMS = -32602;
export const RPC_INTERNAL_ERROR = -32603;

/**
 * Every code once: HTTP status, JSON-RPC code, meaning. JSON-RPC codes are part of the contract: never renumber, append.
 * −32000… facts, −32020… node, −32060… store, −32070… API, −31000… mesh (the specification leaves that range to
 * applications, its own hundred is nearly used up); the specification's own codes where one fits.
 */
export const ERRORS: { readonly [C in ErrorCode]: ErrorEntry } = {
  invalid_entity_uri: { status: 400, rpc: -32000, title: 'Entity, source or garden is not a URI' },
  invalid_relation: { status: 422, rpc: -32001, title: 'Relation is malformed' },
  invalid_value: { status: 422, rpc: -32002, title: 'Value does not fit its type' },
  invalid_confidence: { status: 422, rpc: -32003, title: 'Confidence is not between 0 and 1' },
  invalid_scope: { status: 422, rpc: -32004, title: 'Unknown scope' },
  invalid_timestamp: { status: 422, rpc: -32005, title: 'Not an RFC 3339 date-time' },
  invalid_hlc: { status: 422, rpc: -32006, title: 'Not a hybrid logical clock reading' },
  invalid_ext: { status: 422, rpc: -32007, title: 'A term of the fact is malformed' },
  invalid_cid: { status: 422, rpc: -32008, title: 'Not a content address' },
  text_too_large: { status: 413, rpc: -32009, title: 'Text is longer than a value may be' },
  lone_surrogate: { status: 422, rpc: -32010, title: 'Text is not well-formed Unicode' },
  not_canonical: { status: 422, rpc: -32011, title: 'Bytes are not in RFC 8785 form' },
  too_deep: { status: 422, rpc: -32012, title: 'Nested too deeply' },
  statement_too_large: { status: 413, rpc: -32013, title: 'Statement is larger than one may be' },
  invalid_statement: { status: 422, rpc: -32014, title: 'Not a statement' },
  bad_signature: { status: 422, rpc: -32015, title: 'Signature does not fit' },
  hlc_ahead: { status: 422, rpc: -32016, title: 'Stated in the future' },

  permission_denied: { status: 403, rpc: -32020, title: 'The key lacks a permission' },
  instruction_write_required: { status: 403, rpc: -32021, title: 'Writing instructions takes a permission of its own' },
  scope_denied: { status: 403, rpc: -32022, title: 'The key does not cover this scope' },
  fact_not_found: { status: 404, rpc: -32023, title: 'No such fact', detail: 'fact not found' },
  conflict_not_found: { status: 404, rpc: -32024, title: 'No such conflict', detail: 'conflict not found' },
  conflict_resolved: {
    status: 409,
    rpc: -32025,
    title: 'The conflict is resolved already',
    detail: 'conflict already resolved',
  },
  invalid_resolution: { status: 422, rpc: -32026, title: 'Not a resolution of this conflict' },
  unknown_supersedes: { status: 409, rpc: -32027, title: 'A superseded statement is unknown' },
  foreign_supersedes: { status: 409, rpc: -32028, title: 'A superseded statement belongs to another organisation' },
  reserved_entity: { status: 403, rpc: -32029, title: 'The entity is reserved for the protocol' },
  idempotency_mismatch: { status: 409, rpc: -32030, title: 'The idempotency key was used for another request' },
  batch_too_large: { status: 413, rpc: -32031, title: 'Too many items in one batch' },
  attestation_unknown: { status: 400, rpc: -32032, title: 'Unknown attestation key' },
  invalid_cursor: { status: 400, rpc: -32033, title: 'Cursor is malformed or belongs to another query' },
  invalid_query: { status: 400, rpc: -32034, title: 'The query cannot be answered' },
  garden_not_found: { status: 404, rpc: -32035, title: 'No such garden', detail: 'garden not found' },
  garden_exists: { status: 409, rpc: -32036, title: 'The slug is taken', detail: 'slug already exists' },
  garden_forbidden: { status: 403, rpc: -32037, title: 'The garden does not allow this' },
  garden_scope_mismatch: { status: 422, rpc: -32038, title: 'Fact and garden differ in scope' },
  garden_slug_invalid: { status: 422, rpc: -32039, title: 'Not a garden slug' },
  member_not_found: { status: 404, rpc: -32040, title: 'Not a member', detail: 'member not found' },
  member_exists: { status: 409, rpc: -32041, title: 'Is a member already' },
  last_admin: {
    status: 403,
    rpc: -32042,
    title: 'The last admin of a garden stays',
    detail: 'cannot remove or demote the last admin; promote another member first',
  },
  key_not_found: { status: 404, rpc: -32043, title: 'No such API key', detail: 'Key not found' },
  key_exists: {
    status: 409,
    rpc: -32044,
    title: 'This key exists already',
    detail: 'raw_key already exists; generate a new key value',
  },
  key_invalid: { status: 400, rpc: -32045, title: 'No key can be made of this' },
  job_not_found: { status: 404, rpc: -32046, title: 'No such job', detail: 'job not found' },
  limit_reached: { status: 409, rpc: -32047, title: 'A limit of this node is reached' },
  unknown_origin: { status: 403, rpc: -32048, title: 'The origin of the statement is not known here' },
  busy: { status: 503, rpc: -32049, title: 'Too much to do at the moment' },
  stopping: { status: 503, rpc: -32050, title: 'The daemon is stopping' },

  store_locked: { status: 503, rpc: -32060, title: 'Another process holds the store' },
  store_corrupt: { status: 500, rpc: -32061, title: 'The store is damaged' },
  store_full: { status: 507, rpc: -32062, title: 'The disk is full' },
  store_readonly: { status: 507, rpc: -32063, title: 'The disk cannot be written' },
  store_io: { status: 507, rpc: -32064, title: 'The disk failed' },
  store_closed: { status: 503, rpc: -32065, title: 'The store is closed' },
  store_schema_newer: { status: 500, rpc: -32066, title: 'The store was written by a newer version' },
  store_migration_failed: { status: 500, rpc: -32067, title: 'The store could not be migrated' },

  malformed_request: { status: 400, rpc: -32070, title: 'Not a request this API understands' },
  json_invalid: { status: 422, rpc: RPC_PARSE_ERROR, title: 'The body is not JSON' },
  validation_failed: { status: 422, rpc: RPC_INVALID_PARAMS, title: 'Parameters or body do not fit the schema' },
  authorization_required: {
    status: 401,
    rpc: -32071,
    title: 'An API key is required',
    detail: 'Authorization header required',
  },
  api_key_invalid: {
    status: 401,
    rpc: -32072,
    title: 'The API key is unknown, expired or revoked',
    detail: 'Invalid or expired API key',
  },
  auth_throttled: { status: 429, rpc: -32073, title: 'Too many refused keys from this address' },
  rate_limited: { status: 429, rpc: -32074, title: 'The allowance of this key is used up' },
  host_forbidden: { status: 403, rpc: -32075, title: 'Not a name of this daemon' },
  origin_forbidden: { status: 403, rpc: -32076, title: 'Web pages may not use this API' },
  key_in_query: { status: 400, rpc: -32077, title: 'Secrets do not belong into a URL' },
  route_not_found: { status: 404, rpc: RPC_METHOD_NOT_FOUND, title: 'No such route', detail: 'Not Found' },
  method_not_allowed: { status: 405, rpc: -32078, title: 'Not with this method', detail: 'Method Not Allowed' },
  request_timeout: { status: 408, rpc: -32079, title: 'The request did not arrive in time' },
  body_too_large: { status: 413, rpc: -32080, title: 'The body is larger than one may be' },
  headers_too_large: { status: 431, rpc: -32081, title: 'The headers are larger than they may be' },
  unsupported_media_type: { status: 415, rpc: -32082, title: 'Not a content type this route reads' },
  session_id_too_long: { status: 400, rpc: -32083, title: 'Session id is too long', detail: 'session_id_too_long' },
  cid_malformed: { status: 400, rpc: -32084, title: 'Not a sha256 content address' },
  too_many_clients: { status: 503, rpc: -32085, title: 'Too many event streams' },
  answer_too_large: { status: 413, rpc: -32086, title: 'The answers of this batch grew too large' },
  internal_error: { status: 500, rpc: RPC_INTERNAL_ERROR, title: 'Something failed in the daemon' },

  mesh_disabled: { status: 503, rpc: -31000, title: 'The mesh is off' },
  peer_not_found: { status: 404, rpc: -31001, title: 'No such peer', detail: 'peer not found' },
  peer_exists: { status: 409, rpc: -31002, title: 'The peer is known already' },
  peer_not_pending: { status: 409, rpc: -31003, title: 'The peer does not wait for approval' },
  peer_revoked: { status: 409, rpc: -31004, title: 'The peer was removed for good' },
  peer_is_self: { status: 422, rpc: -31005, title: 'This daemon is no peer of itself' },
  peer_refused: { status: 403, rpc: -31006, title: 'The peer refused us' },
  peer_unreachable: { status: 503, rpc: -31007, title: 'The peer cannot be reached' },
  peer_timeout: { status: 504, rpc: -31008, title: 'The peer did not answer in time' },
  invalid_peer_id: { status: 422, rpc: -31009, title: 'Not the id of a peer' },
  invalid_address: { status: 422, rpc: -31010, title: 'Not an address of a peer' },
  invalid_terms: { status: 422, rpc: -31011, title: 'Not what one can give or take' },
  private_address: { status: 403, rpc: -31012, title: 'An address of this machine or its network' },
  fingerprint_mismatch: {
    status: 400,
    rpc: -31013,
    title: 'The fingerprint is another one',
    detail: 'fingerprint mismatch',
  },
  invite_not_found: { status: 404, rpc: -31014, title: 'No such invite', detail: 'invite not found' },
  invite_truncated: { status: 422, rpc: -31015, title: 'The invite is cut off' },
  invite_checksum: { status: 422, rpc: -31016, title: 'The invite was mistyped' },
  invite_version: { status: 422, rpc: -31017, title: 'The invite is of another version' },
  invite_malformed: { status: 422, rpc: -31018, title: 'Not an invite' },
  invite_expired: { status: 403, rpc: -31019, title: 'The invite has expired' },
  invite_spent: { status: 403, rpc: -31020, title: 'The invite was used already' },
  invite_revoked: { status: 403, rpc: -31021, title: 'The invite was taken back' },
  invite_refused: { status: 403, rpc: -31022, title: 'The invite is not known, or not proven' },
  sync_failed: { status: 503, rpc: -31023, title: 'The reconciliation failed' },
  manifest_not_found: { status: 404, rpc: -31024, title: 'No such manifest', detail: 'manifest not found or expired' },
  manifest_malformed: { status: 422, rpc: -31025, title: 'Not a manifest of an organisation' },
  manifest_expired: { status: 422, rpc: -31026, title: 'The manifest has expired' },
  manifest_stale: { status: 409, rpc: -31027, title: 'A newer manifest is known' },
  manifest_equivocation: { status: 409, rpc: -31028, title: 'Another manifest of this version is known' },
  rotation_unproven: { status: 409, rpc: -31029, title: 'The new key is not signed over by the known one' },
  org_key_missing: { status: 409, rpc: -31030, title: 'The key of the organisation is not on this machine' },
  node_not_listed: { status: 404, rpc: -31031, title: 'The manifest lists no such node', detail: 'node not listed' },
  node_listed: { status: 409, rpc: -31032, title: 'The manifest lists this node already' },
  not_owner: { status: 403, rpc: -31033, title: 'Not the owner of this name' },
  manifest_too_large: { status: 413, rpc: -31034, title: 'The manifest is larger than one may be' },
  authority_mismatch: { status: 422, rpc: -31035, title: 'The manifest is of another organisation' },
  org_key_mismatch: { status: 409, rpc: -31036, title: 'The manifest is signed by another key than ours' },
  too_many_nodes: { status: 409, rpc: -31037, title: 'The manifest lists as many nodes as one may' },
  node_revoked: { status: 409, rpc: -31038, title: 'The key of this node was revoked' },
  declaration_too_large: { status: 403, rpc: -31039, title: 'The declaration of the peer is larger than one may be' },
  declaration_malformed: { status: 403, rpc: -31040, title: 'The peer sent no declaration' },
  declaration_wrong_node: { status: 403, rpc: -31041, title: 'The declaration is of another node than the peer' },
  declaration_wrong_audience: { status: 403, rpc: -31042, title: 'The declaration is for somebody else' },
  declaration_wrong_nonce: { status: 403, rpc: -31043, title: 'The declaration does not answer our challenge' },
  declaration_stale: { status: 403, rpc: -31044, title: 'The declaration is old, or a clock is wrong' },
  declaration_expired: { status: 403, rpc: -31045, title: 'The declaration has expired' },
  invite_too_large: { status: 422, rpc: -31046, title: 'The invite is larger than one may be' },
  invalid_public_key: { status: 422, rpc: -31047, title: 'Not an Ed25519 key' },
  invalid_fingerprint: { status: 422, rpc: -31048, title: 'Not a fingerprint' },
  manifest_invalid: { status: 422, rpc: -31049, title: 'The manifest does not hold' },
  key_unwritable: { status: 507, rpc: -31059, title: 'The key file cannot be written' },
  node_not_revoked: { status: 409, rpc: -31050, title: 'The key of this node was not revoked' },
  scope_violation: { status: 403, rpc: -31060, title: 'Not shared with whoever sent it' },
  unknown_org: { status: 404, rpc: -31061, title: 'The manifest of the organisation is not known' },
  key_revoked: { status: 403, rpc: -31062, title: 'Signed with a key that had been revoked' },
  origin_removed: { status: 403, rpc: -31063, title: 'Signed by a node that was removed here' },
  origin_rejected: { status: 403, rpc: -31064, title: 'Nothing of that organisation is taken' },
  too_many_namespaces: {
    status: 409,
    rpc: -31065,
    title: 'The organisation has as many relation namespaces as one may',
  },
  too_many_sets: { status: 409, rpc: -31066, title: 'There are as many sets of statements as there may be' },
  quarantine_full: { status: 409, rpc: -31067, title: 'As much of that organisation is in quarantine as may be' },
};

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERRORS, code);
}

/** One problem with the input, in the words of the contract's ValidationError. */
export interface ValidationIssue {
  readonly type: string;
  readonly loc: readonly (string | number)[];
  readonly msg: string;
}

export interface ApiErrorOptions {
  /** What the contract has in `detail` instead of the message. */
  readonly detail?: string | readonly ValidationIssue[] | { readonly code: string; readonly message: string };
  readonly headers?: Readonly<Record<string, string>>;
  /** Further members of the problem. */
  readonly members?: Readonly<Record<string, unknown>>;
}

/** A refusal by the API itself. `code` is stable, `hint` says what to do next. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ApiErrorCode;
  readonly hint: string;
  readonly options: ApiErrorOptions;

  constructor(code: ApiErrorCode, message: string, hint: string, options: ApiErrorOptions = {}) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.options = options;
  }
}
