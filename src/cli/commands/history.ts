import type { Command } from 'commander';
import { scopeOption, wholeNumber } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { factTable } from '../fact-text.ts';
import { MAX_PAGE } from '../limits.ts';
import { collectPages, pageNote } from '../pages.ts';
import { valueText } from '../values.ts';
import type { FactPage } from './query.ts';

interface Options {
  readonly scope?: string;
  readonly cursor?: string;
  readonly limit?: number;
  readonly all?: boolean;
}

export function define(command: Command, cli: Cli): void {
  command
    .description('List every statement on an entity and relation, newest first: also what is retracted or superseded.')
    .argument('<entity>', 'what the facts are about')
    .argument('<relation>', 'which relation')
    .addOption(scopeOption('only this scope'))
    .option('--cursor <cursor>', 'continue where an earlier page ended')
    .option('--limit <count>', `facts a page, 1 to ${MAX_PAGE}`, wholeNumber('--limit', 1, MAX_PAGE))
    .addOption(command.createOption('--all', 'follow the pages to the end').conflicts('limit'))
    .action(
      cli.action<Options>(async (session, [entity, relation], options) => {
        const { out } = session;
        const client = await session.client();
        const read = (cursor: string | undefined, limit: number | undefined) =>
          client.get<FactPage>('/v1/facts/history', {
            query: { entity, relation, scope: options.scope, cursor, limit },
          });
        const page = await collectPages(read, 'facts', { ...options, progress: (text) => out.progress(text) });
        await out.answer({
          json: page,
          quiet: () => page.facts.map((fact) => valueText(fact.value)),
          human: () => factTable(out, page.facts),
        });
        if (!out.json && !out.quiet) pageNote(out, page.facts.length, 'statement', page.cursor);
      }),
    );
}
