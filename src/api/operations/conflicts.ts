import { z } from 'zod';
import * as schema from '../schema/facts.ts';
import * as wire from '../wire.ts';
import { type Operation, operation } from './operation.ts';

const listConflicts = operation({
  name: 'conflict.list',
  paged: true,
  method: 'GET',
  path: '/v1/conflicts',
  status: 200,
  tag: 'conflicts',
  summary: 'List contradictions',
  access: ['read'],
  rate: 'read',
  input: {
    query: z.object({
      status: z.enum(['unresolved', 'resolved']).optional(),
      cursor: schema.text.optional(),
      limit: z.int().min(1).max(500).default(50),
    }),
  },
  output: schema.conflictPage,
  errors: ['invalid_cursor'],
  async handler(call, { query }) {
    const page = await call.components.conflicts.list(call.who, query);
    return {
      body: {
        conflicts: page.conflicts.map((conflict) => wire.conflictRecord(conflict, call.init.compatCid)),
        cursor: page.cursor,
        has_more: page.cursor !== null,
        total: page.conflicts.length,
      },
    };
  },
});

const resolveConflict = operation({
  name: 'conflict.resolve',
  method: 'POST',
  path: '/v1/conflicts/{conflict_id}/resolve',
  status: 200,
  tag: 'conflicts',
  summary: 'Resolve a contradiction',
  description:
    'Names the winning side, gives a third value that wins over both, or says that both hold (`both_valid`). The ' +
    'resolution is a signed statement; `new_value` is taken before `winning_fact_id` when both are given.',
  access: ['write'],
  rate: 'write',
  input: { params: z.object({ conflict_id: schema.text }), body: schema.resolveRequest },
  output: schema.resolveResponse,
  errors: [
    'conflict_not_found',
    'conflict_resolved',
    'invalid_resolution',
    'invalid_value',
    'garden_not_found',
    'garden_forbidden',
    'invalid_cid',
    'invalid_timestamp',
    'text_too_large',
    'statement_too_large',
    'lone_surrogate',
    'scope_denied',
  ],
  async handler(call, { params, body }) {
    const result = await call.components.conflicts.resolve(call.who, params.conflict_id, body);
    return {
      body: {
        resolution_fact_id: result.resolutionId,
        conflict_status: 'resolved' as const,
        winning_fact_id: result.winningFactId,
      },
    };
  },
});

export const conflictOperations: readonly Operation[] = [listConflicts, resolveConflict];
