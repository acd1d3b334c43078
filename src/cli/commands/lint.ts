import type { Command } from 'commander';
import type { z } from 'zod';
import type { lintAccepted, lintJob, lintResult } from '../../api/schema/records.ts';
import { SCOPES } from '../../facts/scope.ts';
import { LINT_CHECKS } from '../../node/services.ts';
import { listOf } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import type { Client } from '../client.ts';
import { segment } from '../client.ts';
import { CliError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { LINT_POLL_MS, LINT_TIMEOUT_MS } from '../limits.ts';
import type { Session } from '../session.ts';
import { counted } from '../text.ts';
import { parseSpan } from '../times.ts';

type Result = z.output<typeof lintResult>;

interface Options {
  readonly check?: readonly string[];
  readonly entity?: string;
  readonly relation?: string;
  readonly soon?: string;
  readonly failOnFinding?: boolean;
}

export function define(command: Command, cli: Cli): void {
  command
    .description('Look at the facts of one scope for what is worth a second look. Changes nothing.')
    .addArgument(command.createArgument('<scope>', 'which scope').choices(SCOPES))
    .option('--check <list>', `only these checks: ${LINT_CHECKS.join(', ')}`, listOf(LINT_CHECKS))
    .option('--entity <uri>', 'only facts about this entity')
    .option('--relation <relation>', 'only this relation')
    .option('--soon <span>', 'count as stale what expires within this span: 7d')
    .option('--fail-on-finding', 'exit code 1 when there is a finding')
    .action(
      cli.action<Options>(async (session, [scope], options) => {
        const { out } = session;
        const client = await session.client();
        const answer = await client.post<Result | z.output<typeof lintAccepted>>('/v1/lint', {
          scope,
          checks: options.check,
          entity: options.entity,
          relation: options.relation,
          stale_lookahead_s: options.soon === undefined ? undefined : parseSpan(options.soon, '--soon') / 1000,
        });
        const result = 'job_id' in answer ? await finished(session, client, answer.job_id) : answer;
        const { findings } = result;
        await out.answer({
          json: result,
          quiet: String(findings.length),
          human: () => [
            ...(findings.length === 0
              ? []
              : out.table(
                  [
                    { title: 'CHECK' },
                    { title: 'SEVERITY' },
                    { title: 'ENTITY', min: 10 },
                    { title: 'RELATION', min: 8 },
                    { title: 'WHAT', min: 20 },
                  ],
                  findings.map(({ check, severity, entity, relation, detail }) => [
                    check,
                    severity,
                    entity,
                    relation ?? '',
                    detail,
                  ]),
                )),
            `${counted(findings.length, 'finding')} in ${counted(result.fact_count, 'fact')}${result.truncated ? ' (more were cut off)' : ''}`,
          ],
        });
        return options.failOnFinding && findings.length > 0 ? EXIT.failed : EXIT.ok;
      }),
    );
}

/** Waits for a job: a large scope takes longer than a request should. */
async function finished(session: Session, client: Client, id: string): Promise<Result> {
  const { out, world } = session;
  const limit = session.timeoutMs ?? LINT_TIMEOUT_MS;
  const begin = world.uptime();
  for (;;) {
    const job = await client.get<z.output<typeof lintJob>>(`/v1/lint/jobs/${segment(id)}`);
    if (job.status === 'done') return job as Result;
    if (job.status === 'failed') {
      throw new CliError(
        'lint_failed',
        `the job failed: ${job.error ?? 'no reason given'}`,
        'see the log of the daemon',
      );
    }
    if (world.uptime() - begin >= limit) {
      throw new CliError(
        'wait_timeout',
        `the job is not done after ${limit / 1000} s`,
        'allow more time with --timeout',
      );
    }
    out.progress(`job ${id}: ${job.status}`);
    await world.sleep(LINT_POLL_MS);
  }
}
