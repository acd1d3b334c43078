import { z } from 'zod';
import { GARDEN_ROLES, LINT_CHECKS } from '../../node/services.ts';
import { PERMISSIONS } from '../../policy/principal.ts';
import { cursor, instant, nullableText, scope, text } from './facts.ts';
import { meshStatus } from './federation.ts';
import { named } from './names.ts';

/** Shapes of this node's own records: gardens, keys, audit, lint, status. */

/** Text that is kept and shown as it came; facts refuse lone surrogates by a code of their own. */
const wellFormed = z.string().refine((value) => value.isWellFormed(), 'text must not hold a lone surrogate');

export const gardenMember = named(
  'GardenMemberRecord',
  z.object({ entity_uri: z.string(), role: z.enum(GARDEN_ROLES), added_by: z.string(), added_at: instant }),
);

export const garden = named(
  'GardenRecord',
  z.object({
    id: z.string(),
    garden_id: z.string().describe('URI that facts carry'),
    slug: z.string(),
    name: z.string(),
    scope,
    description: nullableText,
    created_by: z.string(),
    created_at: instant,
    members: z.array(gardenMember),
    quarantine: z.boolean(),
  }),
);

export const gardenCreate = named(
  'GardenCreateRequest',
  z.object({
    slug: text.max(63),
    name: wellFormed.min(1),
    scope: scope.default('company'),
    description: wellFormed.nullable().optional(),
    quarantine: z.boolean().default(false),
  }),
);

export const gardenMemberAdd = named(
  'GardenMemberRequest',
  z.object({ entity_uri: text, role: z.enum(GARDEN_ROLES).default('reader') }),
);

export const gardenMemberUpdate = named('GardenMemberUpdateRequest', z.object({ role: z.enum(GARDEN_ROLES) }));

const keyShape = {
  id: z.string(),
  entity_uri: z.string(),
  permissions: z.array(z.string()),
  description: nullableText,
  created_at: instant,
  expires_at: nullableText,
};
const ownKeyShape = { scopes: z.array(scope), revoked_at: nullableText };

export const keyInfo = named('KeyInfo', z.object({ ...keyShape, oidc_sub: z.null(), ...ownKeyShape }));

export const expiringKey = named(
  'ExpiringKeyInfo',
  z.object({
    ...keyShape,
    oidc_sub: z.null(),
    tenant_id: z.literal('default'),
    days_remaining: z.number(),
    ...ownKeyShape,
  }),
);

export const keyCreate = named(
  'RegisterKeyRequest',
  z.object({
    raw_key: z.string().min(32).max(512).optional().describe('A key of your own making; left out, one is made'),
    entity_uri: text,
    permissions: z
      .array(z.string())
      .default(['read', 'write'])
      .describe(`Any of ${PERMISSIONS.join(', ')}`),
    scopes: z.array(scope).optional().describe('Scopes the key covers; default all'),
    description: wellFormed.nullable().optional(),
    expires_at: nullableText.optional().describe('RFC 3339; default and latest: `auth.key_max_age_days` from now'),
    tenant_id: nullableText.optional().describe('Only `default`'),
  }),
);

export const keyCreated = named(
  'RegisterKeyResponse',
  z.object({
    ...keyShape,
    tenant_id: z.literal('default'),
    ...ownKeyShape,
    api_key: nullableText.describe('The key that was made: shown once, never again. Null when you sent raw_key'),
  }),
);

export const whoami = named(
  'Me',
  z.object({
    entity_uri: z.string(),
    permissions: z.array(z.string()),
    oidc_sub: z.null(),
    tenant_id: z.literal('default'),
    scopes: z.array(scope),
    key_id: nullableText,
  }),
);

export const auditEntry = named(
  'AuditLogEntry',
  z.object({
    id: z.string(),
    fact_id: z.string().describe('Statement CID; empty when the event is about no fact'),
    event_type: z.string(),
    entity_uri: nullableText.describe('Who'),
    oidc_sub: z.null(),
    source: z.string(),
    attested_key_id: z.null(),
    ts: instant,
    attested_key_entity_uri: z.null(),
    attested_key_description: z.null(),
    fact_entity: z.null(),
    fact_relation: z.null(),
    fact_value_type: z.null(),
    fact_value_v: z.null(),
    fact_scope: z.null(),
    seq: z.int(),
    key_id: nullableText,
    detail: z.record(z.string(), z.unknown()).nullable(),
  }),
);

export const auditPage = named('AuditLogResponse', z.object({ entries: z.array(auditEntry), total: z.int(), cursor }));

export const auditFilter = {
  entity_uri: text.optional().describe('Who did it'),
  oidc_sub: text.optional().describe('There are no such identities here: matches nothing'),
  source: text.optional(),
  fact_id: text.optional().describe('Statement CID'),
  attested: z.boolean().optional().describe('true matches nothing yet'),
  event_type: text.optional(),
};

export const lintRequest = named(
  'LintRequest',
  z.object({
    scope,
    checks: z.array(z.enum(LINT_CHECKS)).nullable().optional().describe('Default: all'),
    entity: nullableText.optional(),
    relation: nullableText.optional(),
    stale_lookahead_s: z.int().min(0).default(0),
  }),
);

const lintResultShape = {
  findings: z.array(
    z.object({
      check: z.enum(LINT_CHECKS),
      severity: z.enum(['error', 'warning', 'info']),
      entity: z.string(),
      relation: nullableText,
      fact_ids: z.array(z.string()),
      detail: z.string(),
    }),
  ),
  checked_at: instant,
  scope,
  checks_run: z.array(z.enum(LINT_CHECKS)),
  fact_count: z.int(),
  truncated: z.boolean(),
};

export const lintResult = named('LintResult', z.object(lintResultShape));

export const lintAccepted = named(
  'LintAccepted',
  z.object({ job_id: z.string(), status: z.string(), estimated_s: z.number() }),
);

export const lintJob = named(
  'LintJob',
  z.object({
    job_id: z.string(),
    status: z.enum(['pending', 'running', 'done', 'failed']),
    estimated_s: z.number(),
    created_at: instant,
    started_at: nullableText,
    completed_at: nullableText,
    error: nullableText,
    ...z.object(lintResultShape).partial().shape,
    scope,
  }),
);

export const nodeStatus = named(
  'NodeStatus',
  z.object({
    status: z.enum(['ok', 'unavailable']).describe('Whether writes work'),
    reason: z.object({ code: z.string(), message: z.string() }).nullable().describe('Why they do not'),
    version: z.string(),
    node_version: z.string().describe('Version of the Node.js runtime'),
    uptime_s: z.number(),
    peer_id: z.string(),
    org: z.string(),
    fingerprint: z.string(),
    statements: z.int(),
    facts: z.int(),
    current_facts: z.int(),
    open_conflicts: z.int(),
    quarantined: z.int().describe('Damaged records that were set aside'),
    untrusted: z.int().describe('Statements of organisations that nobody here trusts: kept, and in no view'),
    equivocations: z.int().describe('Origins seen to sign two statements with one clock reading, since the start'),
    seq: z.int(),
    hlc: nullableText,
    hlc_ahead_ms: z.number(),
    last_commit_at: nullableText,
    store_bytes: z.number().nullable().describe('Null while the disk does not answer'),
    schema: z.int(),
    write_queue: z.int().describe('Statements that wait for the writer'),
    recomputations: z.int().describe('Relations whose views are computed again after their cardinality changed'),
    expiry_overdue_s: z.number().describe('Age of the oldest expiry that is due and not settled'),
    lint_jobs: z.int().describe('Lint jobs that wait or run'),
    feed_followers: z.int(),
    sse_clients: z.int(),
    connections: z.int(),
    requests: z.int().describe('Requests that are being answered, this one and event streams included'),
    gardens: z.int().describe('Deleted ones included'),
    manifests: z.int().describe('Organisations whose manifest is known'),
    api_keys: z.int().describe('Neither revoked nor expired'),
    auth: z.enum(['none', 'required']),
    mesh: meshStatus,
    warnings: z.array(z.string()).describe('Of the node and of the mesh'),
  }),
);

export const wellKnown = named(
  'WellKnown',
  z.object({
    version: z.string(),
    node_id: z.string(),
    node_url: z.string(),
    auth: z.enum(['none', 'required']),
    federation: z.enum(['enabled', 'disabled']),
    source_attestation: z.enum(['off', 'warn', 'enforce']),
    namespaces: z.array(z.string()),
    spec: z.string(),
    cors: z.object({ dev_localhost: z.boolean(), configured: z.boolean() }),
    peer_id: z.string(),
    org: z.string(),
    fingerprint: z.string().describe('Of the organisation’s key'),
    addrs: z.array(z.string()).optional().describe('Multiaddrs of the mesh; while it is on'),
    federation_pubkey: z.string().optional().describe('Ed25519 key of this node, base64url; while the mesh is on'),
    federation_version: z.string().optional(),
    software: z.object({ name: z.string(), version: z.string() }),
  }),
);

export const health = named(
  'Health',
  z.object({
    status: z.enum(['ok', 'unavailable']),
    code: z.string().optional().describe('Why it is unavailable: an error code'),
  }),
);

export const importReport = named(
  'ImportReport',
  z.object({
    accepted: z.int(),
    duplicates: z.int(),
    rejected: z.int(),
    errors: z.array(z.object({ line: z.int(), code: z.string(), message: z.string() })),
    errors_truncated: z.boolean().describe('More lines were refused than are listed'),
  }),
);
