import { z } from 'zod';
import type { FactScope } from '../../facts/scope.ts';
import { normalizeValue } from '../../facts/value.ts';
import { NodeError } from '../../node/errors.ts';
import type { AssertInput, AssertResult, BatchItem, Include } from '../../node/types.ts';
import { ApiError } from '../errors.ts';
import { MAX_IDEMPOTENCY_KEY, MAX_SESSION_ID } from '../limits.ts';
import type { ApiMetrics } from '../metrics.ts';
import * as schema from '../schema/facts.ts';
import * as wire from '../wire.ts';
import { type Call, factName, type Operation, operation } from './operation.ts';

const sessionHeader = {
  stigmem_session: z.string().optional().describe('Session id, at most 128 characters; has no effect yet'),
};
const idempotencyHeader = {
  idempotency_key: schema.text
    .max(MAX_IDEMPOTENCY_KEY)
    .optional()
    .describe('A repeat of the request with the same key answers the first result; another body answers 409'),
};
const factId = z.object({
  fact_id: schema.text.describe('Statement CID (`bagaaiera…`) or fact CID (`sha256:…`): then its newest statement'),
});

function checkSession(headers: { readonly stigmem_session?: string | undefined }): void {
  if ((headers.stigmem_session?.trim().length ?? 0) > MAX_SESSION_ID) {
    throw new ApiError('session_id_too_long', 'session_id_too_long', `use at most ${MAX_SESSION_ID} characters`);
  }
}

/** What the node takes, from what the wire says. */
function assertInput(call: Call, request: schema.AssertRequest): AssertInput {
  const { attestation, write_mode: _mode, scope, ...input } = request;
  if (attestation != null) {
    throw new NodeError(
      'attestation_unknown',
      `attestation.key_id '${attestation.key_id.slice(0, MAX_SESSION_ID)}' not found`,
      'leave attestation out: agent keys cannot be registered with this version',
    );
  }
  return { ...input, scope: scope ?? call.init.defaultScope };
}

/** Nothing is announced of what was known already. */
function announcedTo({ components }: Call, { fact, created }: AssertResult): number {
  return created ? (components.federation?.reach(fact.statement) ?? 0) : 0;
}

const assertFact = operation({
  name: 'fact.assert',
  method: 'POST',
  path: '/v1/facts',
  status: 201,
  tag: 'facts',
  summary: 'Assert a fact',
  description:
    'Answers when the statement is signed and on disk. The same claim on the same terms again answers the existing ' +
    'record with `created: false`. Confidence 0 retracts.',
  access: ['write'],
  rate: 'write',
  input: { body: schema.assertRequest, headers: z.object({ ...sessionHeader, ...idempotencyHeader }) },
  output: schema.assertedFact,
  errors: [
    'invalid_entity_uri',
    'invalid_relation',
    'invalid_value',
    'invalid_timestamp',
    'invalid_ext',
    'lone_surrogate',
    'text_too_large',
    'statement_too_large',
    'attestation_unknown',
    'session_id_too_long',
    'scope_denied',
    'garden_not_found',
    'garden_forbidden',
    'garden_scope_mismatch',
    'instruction_write_required',
    'reserved_entity',
    'unknown_supersedes',
    'foreign_supersedes',
    'idempotency_mismatch',
    'invalid_cid',
    'too_deep',
  ],
  async handler(call, { body, headers }) {
    checkSession(headers);
    const { facts } = call.components;
    const result = await facts.assert(call.who, assertInput(call, body), { idempotencyKey: headers.idempotency_key });
    const record = wire.factRecord(result.fact, call.init.compatCid, result.warnings);
    return { body: { ...record, announced_to: announcedTo(call, result), created: result.created } };
  },
});

const assertBatch = operation({
  name: 'fact.assertBatch',
  method: 'POST',
  path: '/v1/facts/batch',
  status: 200,
  tag: 'facts',
  summary: 'Assert many facts',
  description:
    'Each item succeeds or fails by itself; with `atomic` all or none are stored. The status is 200 in either case: ' +
    'read `accepted`, `rejected` and `results`.',
  access: ['write'],
  rate: 'write',
  cost: ({ body }) => body.facts.length,
  input: { body: schema.batchRequest, headers: z.object({ ...sessionHeader, ...idempotencyHeader }) },
  output: schema.batchResponse,
  errors: ['batch_too_large', 'attestation_unknown', 'session_id_too_long', 'idempotency_mismatch'],
  async handler(call, { body, headers }) {
    checkSession(headers);
    const { batchFacts } = call.init;
    if (body.facts.length > batchFacts) {
      throw new NodeError(
        'batch_too_large',
        `${body.facts.length} facts, the limit is ${batchFacts}`,
        `send at most ${batchFacts} facts a request`,
      );
    }
    const result = await call.components.facts.assertBatch(call.who, {
      facts: body.facts.map((fact) => assertInput(call, fact)),
      atomic: body.atomic,
      idempotencyKey: headers.idempotency_key ?? body.idempotency_key ?? undefined,
    });
    if (!result.replayed) countItems(call.metrics, result.items);
    return {
      body: {
        accepted: result.accepted,
        rejected: result.rejected,
        results: result.items.map((item, index) =>
          item.status === 'error'
            ? { index, status: item.status, fact_id: null, warnings: [], error: { ...item.error } }
            : { index, status: item.status, fact_id: item.factId, warnings: [...item.warnings], error: null },
        ),
        replayed: result.replayed,
      },
    };
  },
});

/** One step a label and batch: a thousand facts must not cost a thousand. */
function countItems({ batchFacts, itemRefusals }: ApiMetrics, items: readonly BatchItem[]): void {
  const outcomes = new Map<string, number>();
  for (const item of items) {
    outcomes.set(item.status, (outcomes.get(item.status) ?? 0) + 1);
    if (item.status === 'error') itemRefusals.inc({ code: item.error.code });
  }
  for (const [outcome, count] of outcomes) batchFacts.inc({ outcome }, count);
}

const queryFacts = operation({
  name: 'fact.query',
  paged: true,
  method: 'GET',
  path: '/v1/facts',
  status: 200,
  tag: 'facts',
  summary: 'Query facts',
  description: 'The current view by default, newest first. A page can be short and still have a cursor.',
  access: ['read'],
  rate: 'read',
  scopeSentence: true,
  input: { query: schema.factQuery, headers: z.object(sessionHeader) },
  output: schema.factPage,
  errors: [
    'invalid_query',
    'invalid_cursor',
    'invalid_value',
    'session_id_too_long',
    'scope_denied',
    'garden_not_found',
    'garden_forbidden',
    'invalid_entity_uri',
    'invalid_relation',
    'invalid_timestamp',
    'text_too_large',
    'lone_surrogate',
  ],
  async handler(call, { query, headers }) {
    checkSession(headers);
    if (query.as_of !== undefined) {
      throw new NodeError('invalid_query', 'as_of is not supported', 'leave as_of out; see fact.history for the past');
    }
    const include = new Set<Include>(query.include);
    if (query.include_contradicted) include.add('losing');
    if (query.include_expired) include.add('expired');
    const page = await call.components.facts.query(call.who, {
      entity: query.entity,
      relation: query.relation,
      relationPrefix: query.relation_prefix,
      source: query.source,
      scope: query.scope,
      origin: query.origin,
      value: query.value && normalizeValue(query.value.type, query.value.v),
      garden: query.garden_id,
      minConfidence: query.min_confidence,
      include: [...include],
      after: query.after,
      cursor: query.cursor,
      limit: query.limit,
    });
    // Attestation is tri-state and unknown for every fact: neither true nor false equals it.
    const facts = query.attested === undefined ? page : { ...page, facts: [] };
    const body = wire.factPage(facts, call.init.compatCid);
    return { body, headers: { 'x-total-count': String(body.total) } };
  },
});

const retractFact = operation({
  name: 'fact.retract',
  method: 'POST',
  path: '/v1/facts/retract',
  status: 201,
  tag: 'facts',
  summary: 'Retract a fact',
  description:
    'A statement with confidence 0: retracts what this organisation states on the key, with the given value or with ' +
    'any. Nothing is deleted; another organisation’s facts are disputed, not retracted.',
  access: ['write'],
  rate: 'write',
  input: { body: schema.retractRequest },
  output: schema.assertedFact,
  errors: [
    'fact_not_found',
    'scope_denied',
    'garden_not_found',
    'garden_forbidden',
    'invalid_entity_uri',
    'invalid_relation',
    'invalid_value',
    'invalid_timestamp',
    'text_too_large',
    'statement_too_large',
    'lone_surrogate',
    'garden_scope_mismatch',
    'reserved_entity',
  ],
  async handler(call, { body }) {
    const scope: FactScope = body.scope ?? call.init.defaultScope;
    const result = await call.components.facts.retract(call.who, {
      entity: body.entity,
      relation: body.relation,
      scope,
      source: body.source,
      garden_id: body.garden_id ?? undefined,
      value: body.value ?? undefined,
    });
    const record = wire.factRecord(result.fact, call.init.compatCid, result.warnings);
    return { body: { ...record, announced_to: announcedTo(call, result), created: result.created } };
  },
});

const factHistory = operation({
  name: 'fact.history',
  paged: true,
  method: 'GET',
  path: '/v1/facts/history',
  status: 200,
  tag: 'facts',
  summary: 'Everything ever stated on one entity and relation',
  description: 'Newest first, whatever the state: current, losing, retracted, superseded, expired and retractions.',
  access: ['read'],
  rate: 'read',
  scopeSentence: true,
  input: {
    query: z.object({
      entity: schema.text,
      relation: schema.text,
      scope: schema.scope.optional(),
      cursor: schema.text.optional(),
      limit: z.int().min(1).max(500).default(50),
    }),
  },
  output: schema.factPage,
  errors: [
    'invalid_entity_uri',
    'invalid_relation',
    'invalid_query',
    'invalid_cursor',
    'scope_denied',
    'lone_surrogate',
  ],
  async handler(call, { query }) {
    const body = wire.factPage(await call.components.facts.history(call.who, query), call.init.compatCid);
    return { body, headers: { 'x-total-count': String(body.total) } };
  },
});

const getFact = operation({
  name: 'fact.get',
  method: 'GET',
  path: '/v1/facts/{fact_id}',
  status: 200,
  tag: 'facts',
  summary: 'Get one fact',
  access: ['read'],
  rate: 'read',
  input: { params: factId, headers: z.object(sessionHeader) },
  output: schema.singleFact,
  errors: ['fact_not_found', 'cid_malformed', 'garden_forbidden', 'scope_denied', 'session_id_too_long', 'invalid_cid'],
  async handler(call, { params, headers }) {
    checkSession(headers);
    const { fact, claim } = await call.components.facts.get(call.who, factName(params.fact_id));
    return { body: { ...wire.factRecord(fact, call.init.compatCid), claim: { ...claim } } };
  },
});

const factProvenance = operation({
  name: 'fact.provenance',
  rpc: false,
  method: 'GET',
  path: '/v1/facts/{fact_id}/provenance',
  status: 200,
  tag: 'facts',
  summary: 'Where a fact comes from',
  access: ['read'],
  rate: 'read',
  input: { params: factId },
  output: schema.provenance,
  errors: ['fact_not_found', 'cid_malformed', 'garden_forbidden', 'scope_denied', 'invalid_cid'],
  async handler(call, { params }) {
    const of = await call.components.facts.provenance(call.who, factName(params.fact_id));
    return { body: wire.provenance(of, call.init.compatCid) };
  },
});

const verifyFact = operation({
  name: 'fact.verifyCid',
  rpc: false,
  method: 'POST',
  path: '/v1/facts/{fact_id}/verify-cid',
  status: 200,
  tag: 'facts',
  summary: 'Recompute the content address and check the signature of a stored fact',
  access: ['read'],
  rate: 'read',
  input: { params: factId },
  output: schema.cidCheck,
  errors: ['fact_not_found', 'cid_malformed', 'garden_forbidden', 'scope_denied', 'invalid_cid'],
  async handler(call, { params }) {
    return { body: wire.cidCheck(await call.components.facts.verifyCid(call.who, factName(params.fact_id))) };
  },
});

export const factOperations: readonly Operation[] = [
  assertFact,
  assertBatch,
  queryFacts,
  retractFact,
  factHistory,
  getFact,
  factProvenance,
  verifyFact,
];
