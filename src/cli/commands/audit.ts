import type { Command } from 'commander';
import type { z } from 'zod';
import type { auditEntry, auditPage } from '../../api/schema/records.ts';
import { wholeNumber } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { usage } from '../errors.ts';
import { MAX_PAGE } from '../limits.ts';
import type { Output } from '../output.ts';
import { collectPages, pageNote } from '../pages.ts';
import { shortId, shortInstant } from '../text.ts';

type Entry = z.output<typeof auditEntry>;
type Page = z.output<typeof auditPage>;

interface Options {
  readonly fact?: string;
  readonly type?: string;
  readonly by?: string;
  readonly source?: string;
  readonly cursor?: string;
  readonly limit?: number;
  readonly all?: boolean;
}

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Show who did what, newest first. Takes the permission admin or audit.read. Values of facts are not in it.',
    )
    .option('--fact <id>', 'everything recorded about one statement, oldest first')
    .option('--type <type>', 'only this kind of event')
    .option('--by <uri>', 'only what this entity did')
    .option('--source <uri>', 'only about facts of this source')
    .option('--cursor <cursor>', 'continue where an earlier page ended')
    .option('--limit <count>', `entries a page, 1 to ${MAX_PAGE}`, wholeNumber('--limit', 1, MAX_PAGE))
    .addOption(command.createOption('--all', 'follow the pages to the end').conflicts('limit'))
    .action(
      cli.action<Options>(async (session, _args, options) => {
        const { out } = session;
        const { fact, type, by, source } = options;
        if (
          fact !== undefined &&
          (type ?? by ?? source ?? options.cursor ?? options.limit ?? options.all) !== undefined
        ) {
          throw usage('--fact shows everything about one statement', 'leave the other options out');
        }
        const client = await session.client();
        if (fact !== undefined) {
          const entries = await client.get<Entry[]>(`/v1/audit/facts/${segment(fact)}`);
          await out.answer({ json: entries, quiet: ids(entries), human: () => table(out, entries) });
          return;
        }
        const query = { event_type: type, entity_uri: by, source };
        const read = (cursor: string | undefined, limit: number | undefined) =>
          client.get<Page>('/v1/audit', { query: { ...query, cursor, limit } });
        const page = await collectPages(read, 'entries', { ...options, progress: (text) => out.progress(text) });
        await out.answer({ json: page, quiet: ids(page.entries), human: () => table(out, page.entries) });
        if (!out.json && !out.quiet) pageNote(out, page.entries.length, 'entry', page.cursor, 'entries');
      }),
    );
}

const ids = (entries: readonly Entry[]): string[] => entries.map(({ id }) => id);

function table(out: Output, entries: readonly Entry[]): string[] {
  if (entries.length === 0) return [];
  const short = (id: string) => (out.width === undefined ? id : shortId(id));
  return out.table(
    [
      { title: 'WHEN', min: 10 },
      { title: 'WHAT', min: 10 },
      { title: 'BY', min: 8 },
      { title: 'SOURCE', min: 6 },
      { title: 'STATEMENT' },
      { title: 'DETAIL', min: 8 },
    ],
    entries.map((entry) => [
      shortInstant(entry.ts),
      entry.event_type,
      entry.entity_uri ?? '',
      entry.source,
      short(entry.fact_id),
      entry.detail === null ? '' : JSON.stringify(entry.detail),
    ]),
  );
}
