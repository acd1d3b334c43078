import { z } from 'zod';
import { BASES, INTERPRETATIONS, SCOPES, VALUE_TYPES } from '../../facts/index.ts';
import { named } from './names.ts';

/** Shapes of facts on the wire: Stigmem's FactRecord and its company, plus members of our own. */

export const scope = z.enum(SCOPES);
export const text = z.string().min(1);
export const nullableText = z.string().nullable();
export const instant = z.string().describe('RFC 3339 date-time');
export const cursor = z.string().nullable().describe('Opaque position for the next page; null at the end');

export const factValueInput = named(
  'FactValueInput',
  z.object({
    type: z.enum(VALUE_TYPES),
    v: z.unknown().optional().describe('JSON value that fits `type`; left out for null'),
    interpret_as: z
      .enum(INTERPRETATIONS)
      .default('content')
      .describe('`instruction` takes the permission instruction:write'),
  }),
);

export const attestation = z.object({ key_id: text, signature: text });

export const assertRequest = named(
  'AssertRequest',
  z.object({
    entity: text.describe('URI; normalised'),
    relation: text.describe('prefix:name'),
    value: factValueInput,
    source: text.describe('URI of who claims it; normalised'),
    confidence: z.number().min(0).max(1).default(1).describe('0 is a retraction'),
    scope: scope.optional().describe('Default: `facts.default_scope` of the configuration, `local` unless changed'),
    valid_until: nullableText.optional().describe('RFC 3339; the fact is not current from then on'),
    garden_id: nullableText.optional().describe('URI, slug or id of a garden of the same scope'),
    write_mode: z.enum(['assert', 'summarize_with_provenance']).default('assert'),
    derived_from: z.array(z.record(z.string(), z.unknown())).default([]).describe('Evidence: {fact_id} or {hash}'),
    attestation: attestation.nullable().optional().describe('Agent keys cannot be registered yet: answers 400'),
    supersedes: z.array(text).default([]).describe('Statement CIDs of this organisation that the new fact retires'),
    basis: z.enum(BASES).nullable().optional().describe('How the source knows'),
  }),
);
export type AssertRequest = z.output<typeof assertRequest>;

export const factValue = named(
  'FactValue',
  z.object({ type: z.enum(VALUE_TYPES), v: z.unknown(), interpret_as: z.enum(INTERPRETATIONS) }),
);

const factShape = {
  id: z.string().describe('Statement CID: who claimed it, when, on what terms'),
  entity: z.string(),
  relation: z.string(),
  value: factValue,
  source: z.string(),
  timestamp: instant,
  hlc: z.string(),
  received_from: nullableText.describe('Peer id it came from; null when it was written here'),
  valid_until: nullableText,
  confidence: z.number(),
  scope,
  attested_key_id: z.null(),
  origin_node_id: nullableText.describe('Peer id of the origin; null when it was written here'),
  origin_allowed_scopes: z.null(),
  garden_id: nullableText.describe('Garden URI'),
  attested: z.null(),
  contradicted: z.boolean().describe('Another live value stands against this one, unresolved'),
  warnings: z.array(z.string()),
  source_trust: z.null(),
  quarantine_status: z.enum(['pending']).nullable().describe('`pending`: nobody here trusts its organisation'),
  quarantine_garden_id: z.null(),
  effective_confidence: z.null(),
  sanitizer_warnings: z.array(z.string()),
  sanitizer_redacted: z.boolean(),
  cid: z.string().describe('Fact CID: what is claimed. `compat.cid` chooses the spelling'),
  derived_from: z.array(z.record(z.string(), z.unknown())),
  cid_aliases: z.array(z.string()).describe('The other spellings of the fact CID'),
  statement_cid: z.string().describe('Same as `id`'),
  state: z.enum([
    'current',
    'losing',
    'retraction',
    'dispute',
    'retracted',
    'superseded',
    'expired',
    'quarantined',
    'revoked',
  ]),
  overruled: z.boolean().describe('This value lost a resolution'),
  origin: z.string().describe('Peer id of the node that signed'),
  org: z.string().describe('Authority of its organisation'),
  source_revoked: z.boolean().describe('The key that signed it was revoked since; what it said before stays'),
  signature: z.string().describe('Ed25519 over the statement, base64url'),
  basis: z.enum(BASES).nullable(),
  supersedes: z.array(z.string()),
  received_at: instant,
  seq: z.int().describe('Local sequence number: the id of its event'),
};

export const factRecord = named('FactRecord', z.object(factShape));
export type FactRecord = z.output<typeof factRecord>;

export const assertedFact = named(
  'AssertedFact',
  z.object({
    ...factShape,
    announced_to: z.int().describe('Connected peers that may hold it and are told of it now'),
    created: z.boolean().describe('False: the same claim was live already, nothing was written'),
  }),
);

export const singleFact = named(
  'SingleFact',
  z.object({
    ...factShape,
    claim: z.object({
      statements: z.int().describe('How often this claim was made'),
      origins: z.int().describe('By how many nodes'),
    }),
  }),
);

export const factPage = named(
  'QueryResponse',
  z.object({
    facts: z.array(factRecord).describe('Newest first'),
    total: z.int().describe('Facts on this page'),
    cursor,
    tombstone_notices: z.array(z.never()),
    head: z.string().describe('Give it as `after` to get only what is committed later'),
  }),
);

export const factQuery = z.object({
  entity: text.optional(),
  relation: text.optional(),
  relation_prefix: text.optional().describe('For example `memory:`'),
  source: text.optional(),
  scope: scope.optional(),
  origin: text.optional().describe('Peer id'),
  value: z
    .object({ type: z.enum(VALUE_TYPES), v: z.unknown().optional() })
    .optional()
    .describe('Exactly this value, as JSON: {"type":"string","v":"CEO"}'),
  garden_id: text.optional(),
  min_confidence: z.number().min(0).max(1).default(0),
  include_contradicted: z.boolean().default(false).describe('Same as include=losing'),
  include_expired: z.boolean().default(false).describe('Same as include=expired'),
  include: z
    .array(z.enum(['history', 'retracted', 'superseded', 'expired', 'losing', 'quarantined']))
    .default([])
    .describe('What to show beside the current view, comma separated'),
  after: text.optional().describe('A `head`, a cursor, an HLC or an RFC 3339 instant: only what came later'),
  cursor: text.optional(),
  limit: z.int().min(1).max(500).default(50),
  attested: z.boolean().optional().describe('No fact is attested or unattested yet: with it, no fact matches'),
  include_low_trust: z.boolean().default(false).describe('Accepted; there is no trust filter yet'),
  as_of: text.optional().describe('Not supported yet: answers 400'),
});

export const batchRequest = named(
  'BatchRequest',
  z.object({
    facts: z.array(assertRequest).min(1),
    atomic: z.boolean().default(false).describe('All or nothing'),
    idempotency_key: text.max(255).nullable().optional(),
  }),
);

export const batchResponse = named(
  'BatchResponse',
  z.object({
    accepted: z.int(),
    rejected: z.int(),
    results: z.array(
      z.object({
        index: z.int(),
        status: z.enum(['created', 'exists', 'error']),
        fact_id: nullableText,
        warnings: z.array(z.string()),
        error: z.object({ code: z.string(), message: z.string(), hint: z.string() }).nullable(),
      }),
    ),
    replayed: z.boolean().describe('The remembered answer of an earlier request with this idempotency key'),
  }),
);

export const retractRequest = named(
  'RetractRequest',
  z.object({
    entity: text,
    relation: text,
    scope: scope.optional(),
    source: text,
    garden_id: nullableText.optional(),
    value: z
      .object({ type: z.enum(VALUE_TYPES), v: z.unknown().optional() })
      .nullable()
      .optional()
      .describe('Which value; absent: every value this organisation states on the key'),
  }),
);

export const provenance = named(
  'ProvenanceResponse',
  z.object({
    fact_id: z.string(),
    cid: z.string(),
    derived_from: z.array(
      z.object({ hash: z.string(), fact_id: nullableText, entity: nullableText, exists: z.boolean() }),
    ),
    statement_cid: z.string(),
    origin: z.string(),
    org: z.string(),
    hlc: z.string(),
    signature: z.string(),
    received_from: nullableText,
    received_at: instant,
  }),
);

export const cidCheck = named(
  'CidVerifyResponse',
  z.object({
    cid_valid: z.boolean(),
    computed_cid: z.string(),
    stored_cid: z.string(),
    mismatch_reason: nullableText,
    signature_valid: z.boolean(),
    statement_cid: z.string(),
  }),
);

export const conflictRecord = named(
  'ConflictRecord',
  z.object({
    conflict_id: z.string(),
    fact_a: factRecord.describe('The newer side'),
    fact_b: factRecord,
    status: z.enum(['unresolved', 'resolved']),
    resolved_by: nullableText.describe('Statement CID of the effective resolution'),
    resolutions: z.array(z.string()).describe('Every resolution known, newest first'),
    detected_at: instant,
  }),
);

export const conflictPage = named(
  'ConflictPage',
  z.object({ conflicts: z.array(conflictRecord), cursor, has_more: z.boolean(), total: z.int() }),
);

export const resolveRequest = named(
  'ConflictResolveRequest',
  z.object({
    winning_fact_id: nullableText.optional().describe('Statement CID or fact CID of one side'),
    new_value: factValueInput.nullable().optional().describe('A third value that wins over both'),
    resolution_note: z.string().default(''),
    verdict: z.enum(['winner', 'both_valid']).optional(),
  }),
);

export const resolveResponse = named(
  'ConflictResolution',
  z.object({
    resolution_fact_id: z.string().describe('Statement CID of the resolution'),
    conflict_status: z.literal('resolved'),
    winning_fact_id: nullableText,
  }),
);
