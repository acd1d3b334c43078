import type { Command } from 'commander';
import type { z } from 'zod';
import type { assertedFact, singleFact } from '../../api/schema/facts.ts';
import { scopeOption } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { ProblemError, usage } from '../errors.ts';
import { shortId } from '../text.ts';
import { readValue, VALUE_TYPES } from '../values.ts';

interface Options {
  readonly scope?: string;
  readonly source?: string;
  readonly garden?: string;
  readonly type?: (typeof VALUE_TYPES)[number];
}

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Take back what your organisation states: by the id of a fact, or by entity and relation with one value or all. ' +
        'Nothing is deleted; the history keeps it.',
    )
    .argument('<entity or id>', 'what the fact is about, or the id of the fact')
    .argument('[relation]', 'which relation')
    .argument('[value]', 'which value; left out: every value you state there')
    .addOption(scopeOption('scope of the fact (default: local, or that of the fact with this id)'))
    .option('--source <uri>', 'who retracts (default: user:<you>)')
    .option('--garden <garden>', 'garden of the fact (slug, id or URI)')
    .addOption(command.createOption('--type <type>', 'type of the value').choices(VALUE_TYPES))
    .action(
      cli.action<Options>(async (session, [subject, relation, value], options) => {
        const { out } = session;
        const client = await session.client();
        const source = options.source ?? session.defaultSource;
        let body: Record<string, unknown>;
        if (relation !== undefined) {
          const typed = value === undefined && options.type !== 'null' ? undefined : readValue(value, options.type);
          body = {
            entity: subject,
            relation,
            scope: options.scope ?? 'local',
            garden_id: options.garden,
            value: typed,
          };
        } else {
          if (!/^(?:b[a-z2-7]{20,}|sha256:)/.test(subject as string)) {
            throw usage('the relation is missing', 'give entity and relation, or the id of a fact');
          }
          const fact = await client.get<z.output<typeof singleFact>>(`/v1/facts/${segment(subject as string)}`);
          const { type, v } = fact.value;
          body = { entity: fact.entity, relation: fact.relation, scope: fact.scope, value: { type, v } };
          if (fact.garden_id !== null) body.garden_id = fact.garden_id;
        }
        const retracting = client.post<z.output<typeof assertedFact>>('/v1/facts/retract', { ...body, source });
        const fact = await retracting.catch((error: unknown) => {
          throw nothingOfOurs(error, String(body.scope));
        });
        out.factWarnings(fact.warnings, options.source === undefined ? source : undefined);
        await out.answer({
          json: fact,
          quiet: fact.id,
          human: () => [`${out.done} ${shortId(fact.id)}  ${fact.created ? 'retracted' : 'was retracted already'}`],
        });
      }),
    );
}

/** What is not there to be retracted, said to somebody who may have looked in the wrong place. */
function nothingOfOurs(error: unknown, scope: string): unknown {
  if (!(error instanceof ProblemError) || error.code !== 'fact_not_found') return error;
  return new ProblemError({
    code: error.code,
    message: `your organisation states no such fact in scope ${scope}`,
    hint: 'stigmesh history shows what was stated, by whom and in which scope (--scope); what others state they alone take back',
    status: error.status,
  });
}
