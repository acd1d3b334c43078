import { pipe } from 'it-pipe';
import type { z } from 'zod';
import type { batchResponse } from '../api/schema/facts.ts';
import { type AssertOptions, terms } from './assert-terms.ts';
import { CliError, ProblemError, usage } from './errors.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { BATCH_BYTES, BATCH_FACTS, MAX_LISTED_REFUSALS } from './limits.ts';
import { inGroups, type Line, readSource, splitLines } from './lines.ts';
import type { Session } from './session.ts';
import { counted } from './text.ts';
import { jsonValue } from './values.ts';

type BatchResponse = z.output<typeof batchResponse>;

interface Item {
  readonly line: number;
  readonly fact: Record<string, unknown>;
  readonly bytes: number;
}

interface Totals {
  readonly ids: string[];
  accepted: number;
  existing: number;
  rejected: number;
  readonly errors: { line: number; code: string; message: string; hint: string }[];
}

/** Asserts the facts of a file of JSON lines, in batches. Lines that are refused are named; the rest is stored. */
export async function assertMany(session: Session, file: string, options: AssertOptions): Promise<ExitCode> {
  const { out } = session;
  for (const [name, given] of Object.entries({ '--type': options.type, '--supersedes': options.supersedes })) {
    if (given !== undefined) throw usage(`${name} is for one fact`, 'write it into the lines of the file');
  }
  const client = await session.client();
  const totals: Totals = { ids: [], accepted: 0, existing: 0, rejected: 0, errors: [] };
  let batches = 0;
  await pipe(
    readSource(file, session.world.stdin),
    splitLines,
    (lines) => parse(lines, terms(session, options), options.instruction ?? false),
    (items) => inGroups(items, { items: BATCH_FACTS, bytes: BATCH_BYTES }, (item) => item.bytes),
    async (groups: AsyncIterable<Item[]>) => {
      for await (const group of options.atomic ? onlyOne(groups) : groups) {
        batches += 1;
        const key = options.idempotencyKey;
        const body = { facts: group.map(({ fact }) => fact), atomic: options.atomic ?? false };
        // Each batch is a request of its own, so each has a key of its own; a repeat of the command has the same ones.
        const headers = { 'idempotency-key': key && batches > 1 ? `${key}/${batches}` : key };
        const answer = client.post<BatchResponse>('/v1/facts/batch', body, { bulk: true, headers });
        add(
          totals,
          group,
          await answer.catch((error: unknown) => {
            throw withLines(error, group, totals.accepted);
          }),
        );
        out.progress(`${totals.accepted + totals.rejected} facts sent`);
      }
    },
  );
  if (batches === 0) throw new CliError('file_unusable', 'the input holds no facts', 'write one fact a line, as JSON');
  const { ids, accepted, existing, rejected, errors } = totals;
  await out.answer({
    json: { accepted, existing, rejected, ids, errors },
    quiet: ids,
    human: () => [
      `${out.mark(rejected === 0)} ${counted(accepted - existing, 'fact')} stored, ${existing} known already, ${rejected} refused`,
    ],
  });
  for (const { line, message, hint } of errors) if (!out.json) out.note(`line ${line}: ${message} (hint: ${hint})`);
  if (rejected > errors.length && !out.json) out.note(`… and ${rejected - errors.length} more`);
  return rejected > 0 ? EXIT.failed : EXIT.ok;
}

async function* parse(lines: AsyncIterable<Line>, defaults: Record<string, unknown>, isInstruction: boolean) {
  for await (const { number, text } of lines) {
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      throw new CliError(
        'file_unusable',
        `line ${number} is not JSON`,
        'write one fact a line, as JSON; nothing after it was sent',
      );
    }
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
      throw new CliError(
        'file_unusable',
        `line ${number} is not an object`,
        'write {"entity":…,"relation":…,"value":…}',
      );
    }
    const value = jsonValue((parsed as { value?: unknown }).value ?? null);
    const fact = {
      ...defaults,
      ...parsed,
      value: isInstruction ? { interpret_as: 'instruction', ...(value as object) } : value,
    };
    yield { line: number, fact, bytes: text.length + JSON.stringify(defaults).length };
  }
}

/** All or nothing is a promise about one request. */
async function* onlyOne(groups: AsyncIterable<Item[]>): AsyncGenerator<Item[]> {
  let first: Item[] | undefined;
  for await (const group of groups) {
    if (first !== undefined) {
      throw usage(
        `--atomic takes up to ${BATCH_FACTS} facts and ${BATCH_BYTES / 1024 / 1024} MiB`,
        'split the file, or leave --atomic out',
      );
    }
    first = group;
  }
  if (first !== undefined) yield first;
}

/** A batch in which a line is no fact at all is refused as a whole: says which line, where the daemon counts facts. */
function withLines(error: unknown, group: readonly Item[], before: number): unknown {
  if (!(error instanceof ProblemError) || !/\bfacts\.\d+/.test(error.message)) return error;
  const message = error.message.replace(/\bfacts\.(\d+)\.?/g, (_, at) => `line ${group[Number(at)]?.line}: `);
  const stored = before === 0 ? 'nothing is stored yet' : `the ${counted(before, 'fact')} before this batch are stored`;
  const hint = `correct it and repeat: ${stored}, and repeating is safe`;
  return new ProblemError({ code: error.code, message, hint, status: error.status });
}

function add(totals: Totals, group: readonly Item[], answer: BatchResponse): void {
  totals.accepted += answer.accepted;
  totals.rejected += answer.rejected;
  for (const { index, status, fact_id, error } of answer.results) {
    if (status === 'exists') totals.existing += 1;
    if (fact_id !== null) totals.ids.push(fact_id);
    if (error === null || totals.errors.length >= MAX_LISTED_REFUSALS) continue;
    totals.errors.push({ line: group[index]?.line ?? 0, ...error });
  }
}
