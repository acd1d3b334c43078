import { z } from 'zod';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/records.ts';
import * as wire from '../wire.ts';
import { type Operation, operation } from './operation.ts';

export const lintOperations: readonly Operation[] = [
  operation({
    name: 'lint.run',
    rpc: false,
    method: 'POST',
    path: '/v1/lint',
    status: 200,
    tag: 'lint',
    summary: 'Look for contradictions, stale facts, orphans, broken references and bare relations',
    description: 'Read-only and deterministic. A large scope is swept as a job: 202 with its id.',
    access: ['read'],
    rate: 'read',
    scopeSentence: true,
    input: { body: schema.lintRequest },
    output: schema.lintResult,
    alternatives: { 202: schema.lintAccepted },
    errors: ['invalid_query', 'scope_denied', 'busy', 'invalid_entity_uri', 'invalid_relation', 'lone_surrogate'],
    async handler(call, { body }) {
      const outcome = await call.components.lint.run(call.who, {
        ...body,
        checks: body.checks?.length === 0 ? null : body.checks,
      });
      if ('result' in outcome) return { body: wire.lintResult(outcome.result) };
      const { job_id, status, estimated_s } = outcome.job;
      return { status: 202, body: { job_id, status, estimated_s } };
    },
  }),
  operation({
    name: 'lint.job',
    rpc: false,
    method: 'GET',
    path: '/v1/lint/jobs/{job_id}',
    status: 200,
    tag: 'lint',
    summary: 'State and result of a lint job',
    access: ['read'],
    rate: 'read',
    input: { params: z.object({ job_id: text }) },
    output: schema.lintJob,
    errors: ['job_not_found'],
    async handler(call, { params }) {
      return { body: wire.lintJob(await call.components.lint.job(call.who, params.job_id)) };
    },
  }),
];
