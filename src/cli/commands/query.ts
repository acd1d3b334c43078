import type { Command } from 'commander';
import type { z } from 'zod';
import type { factPage } from '../../api/schema/facts.ts';
import { confidence, listOf, scopeOption, wholeNumber } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { CliError } from '../errors.ts';
import { factTable } from '../fact-text.ts';
import { MAX_PAGE } from '../limits.ts';
import { collectPages, pageNote } from '../pages.ts';
import { readValue, VALUE_TYPES, valueText } from '../values.ts';

export type FactPage = z.output<typeof factPage>;

export const INCLUDES = ['history', 'retracted', 'superseded', 'expired', 'losing', 'quarantined'] as const;

interface Options {
  readonly relationPrefix?: string;
  readonly value?: string;
  readonly type?: (typeof VALUE_TYPES)[number];
  readonly source?: string;
  readonly scope?: string;
  readonly origin?: string;
  readonly garden?: string;
  readonly minConfidence?: number;
  readonly include?: readonly string[];
  readonly after?: string;
  readonly cursor?: string;
  readonly limit?: number;
  readonly all?: boolean;
}

export function define(command: Command, cli: Cli): void {
  command
    .argument('[entity]', 'what the facts are about')
    .argument('[relation]', "a relation, or its beginning and *: 'memory:*'")
    .option('--relation-prefix <prefix>', 'only relations that begin so, for any entity')
    .option('--value <value>', 'only exactly this value; its type is inferred as for assert')
    .addOption(command.createOption('--type <type>', 'type of --value').choices(VALUE_TYPES))
    .option('--source <uri>', 'only what this source claims')
    .addOption(scopeOption('only this scope'))
    .option('--origin <peer id>', 'only what this node signed')
    .option('--garden <garden>', 'only this garden (slug, id or URI)')
    .option('--min-confidence <number>', 'only what is at least this sure', confidence)
    .option('--include <what>', `show more than the current view: ${INCLUDES.join(', ')}`, listOf(INCLUDES))
    .option('--after <position>', 'only what came after: a head, an HLC or an RFC 3339 instant')
    .option('--cursor <cursor>', 'continue where an earlier page ended')
    .option('--limit <count>', `facts a page, 1 to ${MAX_PAGE}`, wholeNumber('--limit', 1, MAX_PAGE))
    .addOption(command.createOption('--all', 'follow the pages to the end').conflicts('limit'))
    .addHelpText(
      'after',
      "\nExamples:\n  $ stigmesh query user:alice memory:role\n  $ stigmesh query user:alice 'memory:*' --include history\n  $ stigmesh query --relation-prefix memory: --scope company --all --json",
    )
    .action(
      cli.action<Options>(async (session, [entity, relation], options) => {
        const { out } = session;
        const client = await session.client();
        const isPrefix = relation?.endsWith('*') ?? false;
        const query = {
          entity,
          relation: isPrefix ? undefined : relation,
          relation_prefix: isPrefix ? relation?.slice(0, -1) : options.relationPrefix,
          value: options.value === undefined ? undefined : JSON.stringify(readValue(options.value, options.type)),
          source: options.source,
          scope: options.scope,
          origin: options.origin,
          garden_id: options.garden,
          min_confidence: options.minConfidence,
          include: options.include,
          after: options.after,
        };
        const read = (cursor: string | undefined, limit: number | undefined) =>
          client.get<FactPage>('/v1/facts', { query: { ...query, cursor, limit } });
        const page = await collectPages(read, 'facts', { ...options, progress: (text) => out.progress(text) });
        if (page.facts.length === 0 && out.quiet && !out.json) {
          throw new CliError('nothing_found', 'no fact matches', 'leave out a filter, or add --include history');
        }
        await out.answer({
          json: page,
          quiet: () => page.facts.map((fact) => valueText(fact.value)),
          human: () => factTable(out, page.facts),
        });
        if (!out.json && !out.quiet) pageNote(out, page.facts.length, 'fact', page.cursor);
      }),
    );
}
