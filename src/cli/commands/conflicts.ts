import type { Command } from 'commander';
import type { z } from 'zod';
import type { conflictPage, conflictRecord, FactRecord, resolveResponse } from '../../api/schema/facts.ts';
import { wholeNumber } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { usage } from '../errors.ts';
import { MAX_PAGE } from '../limits.ts';
import type { Output } from '../output.ts';
import { collectPages, pageNote } from '../pages.ts';
import { printable, shortId, shortInstant } from '../text.ts';
import { readValue, VALUE_TYPES, valueText } from '../values.ts';

type ConflictPage = z.output<typeof conflictPage>;
type Conflict = z.output<typeof conflictRecord>;

interface ListOptions {
  readonly status: 'unresolved' | 'resolved' | 'all';
  readonly cursor?: string;
  readonly limit?: number;
  readonly all?: boolean;
}

interface ResolveOptions {
  readonly winner?: string;
  readonly value?: string;
  readonly type?: (typeof VALUE_TYPES)[number];
  readonly bothValid?: boolean;
  readonly note?: string;
}

export function define(command: Command, cli: Cli): void {
  command.description('List contradictions: two live values on one entity and relation. Without a command: list.');
  defineList(command.command('list', { isDefault: true }), command, cli);
  defineResolve(command.command('resolve'), cli);
}

function defineList(command: Command, parent: Command, cli: Cli): void {
  command
    .summary('list contradictions')
    .description('List contradictions, newest first.')
    .addOption(
      command
        .createOption('--status <status>', 'which')
        .choices(['unresolved', 'resolved', 'all'])
        .default('unresolved'),
    )
    .option('--cursor <cursor>', 'continue where an earlier page ended')
    .option('--limit <count>', `conflicts a page, 1 to ${MAX_PAGE}`, wholeNumber('--limit', 1, MAX_PAGE))
    .addOption(command.createOption('--all', 'follow the pages to the end').conflicts('limit'))
    // A mistyped command arrives here, because list is the default.
    .allowExcessArguments()
    .action(
      cli.action<ListOptions>(async (session, _args, options, self) => {
        const [stray] = self.args;
        if (stray !== undefined) {
          const { unknownCommand } = await import('../stray.ts');
          throw await unknownCommand(parent, stray);
        }
        const { out } = session;
        const client = await session.client();
        const status = options.status === 'all' ? undefined : options.status;
        const read = (cursor: string | undefined, limit: number | undefined) =>
          client.get<ConflictPage>('/v1/conflicts', { query: { status, cursor, limit } });
        const page = await collectPages(read, 'conflicts', { ...options, progress: (text) => out.progress(text) });
        await out.answer({
          json: { ...page, has_more: page.cursor !== null },
          quiet: page.conflicts.map(({ conflict_id }) => conflict_id),
          human: () => page.conflicts.flatMap((conflict) => conflictLines(out, conflict)),
        });
        if (out.json || out.quiet) return;
        pageNote(out, page.conflicts.length, status === undefined ? 'conflict' : `${status} conflict`, page.cursor);
        if (page.conflicts.some((each) => each.status === 'unresolved')) {
          out.note('to resolve one: stigmesh conflicts resolve <conflict id> --winner <id of the side>');
        }
      }),
    );
}

/** Ids are written out: they are what the next command needs. */
function conflictLines(out: Output, conflict: Conflict): string[] {
  const { fact_a: a, fact_b: b } = conflict;
  const garden = a.garden_id === null ? '' : `, ${a.garden_id}`;
  const side = (letter: string, fact: FactRecord) =>
    `  ${letter}  ${out.style('bold', printable(valueText(fact.value)))}  ${printable(
      `${fact.source}, ${fact.org}, confidence ${fact.confidence}, ${shortInstant(fact.timestamp)}`,
    )}\n     ${out.style('dim', printable(fact.id))}`;
  const state = conflict.status === 'resolved' ? `resolved by ${shortId(conflict.resolved_by ?? '')}` : 'unresolved';
  return [
    `${printable(`${a.entity} ${a.relation}`)}  ${out.style('dim', printable(`${a.scope}${garden}, ${state}, since ${shortInstant(conflict.detected_at)}`))}`,
    `  ${printable(conflict.conflict_id)}`,
    side('a', a),
    side('b', b),
  ];
}

function defineResolve(command: Command, cli: Cli): void {
  command
    .summary('say which side holds')
    .description(
      'Resolve a contradiction by a signed statement: name the side that holds, give a third value, or let both hold.',
    )
    .argument('<conflict id>', 'as conflicts lists it')
    .option('--winner <id>', 'id of the side that holds')
    .addOption(
      command.createOption('--value <value>', 'a third value that wins over both').conflicts(['winner', 'bothValid']),
    )
    .addOption(command.createOption('--type <type>', 'type of --value').choices(VALUE_TYPES))
    .addOption(command.createOption('--both-valid', 'both hold').conflicts('winner'))
    .option('--note <text>', 'why', '')
    .action(
      cli.action<ResolveOptions>(async (session, [id], options) => {
        const { out } = session;
        const body = { resolution_note: options.note, ...verdict(options) };
        const client = await session.client();
        const answer = await client.post<z.output<typeof resolveResponse>>(
          `/v1/conflicts/${segment(id as string)}/resolve`,
          body,
        );
        await out.answer({
          json: answer,
          quiet: answer.resolution_fact_id,
          human: () => [
            `${out.done} ${shortId(answer.resolution_fact_id)}  resolved: ${
              answer.winning_fact_id === null ? 'both hold' : `${shortId(answer.winning_fact_id)} holds`
            }`,
          ],
        });
      }),
    );
}

function verdict(options: ResolveOptions): Record<string, unknown> {
  const { winner, value, type, bothValid } = options;
  if (winner !== undefined) return { winning_fact_id: winner };
  if (bothValid) return { verdict: 'both_valid' };
  if (value === undefined && type !== 'null') {
    throw usage('what holds is missing', 'give --winner <id>, --value <value> or --both-valid');
  }
  return { new_value: readValue(value, type) };
}
