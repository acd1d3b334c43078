import { randomBytes } from 'node:crypto';
import { link, open, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipe } from 'it-pipe';
import type { z } from 'zod';
import type { importReport } from '../api/schema/records.ts';
import { syncDirectory } from '../store/durable-file.ts';
import { CliError } from './errors.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { IMPORT_BYTES, IMPORT_LINES, MAX_LISTED_REFUSALS } from './limits.ts';
import { inGroups, type Line, readSource, splitLines } from './lines.ts';
import type { Session } from './session.ts';
import { counted } from './text.ts';

type ImportReport = z.output<typeof importReport>;

/** Writes the whole log to a file, or to stdout. */
export async function exportTo(session: Session, file: string | undefined): Promise<void> {
  const { out } = session;
  // Before the daemon is asked for anything; made certain at the end, when the name is taken.
  if (file !== undefined && (await exists(file))) throw fileExists(file);
  const client = await session.client();
  const response = await client.stream('/v1/export', 'application/x-ndjson');
  const body = response.body as unknown as AsyncIterable<Uint8Array>;
  const count = { lines: 0, bytes: 0 };
  const counting = async function* (source: AsyncIterable<Uint8Array>) {
    let last = 10;
    for await (const chunk of source) {
      for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) count.lines += 1;
      count.bytes += chunk.length;
      last = chunk.at(-1) ?? last;
      out.progress(`${count.lines} statements written`);
      yield chunk;
    }
    if (last !== 10) throw cut();
  };
  try {
    if (file === undefined) {
      await pipe(body, counting, async (chunks: AsyncIterable<Uint8Array>) => {
        for await (const chunk of chunks) await out.write(chunk);
      });
      out.endProgress();
      if (!out.quiet) out.note(`${counted(count.lines, 'statement')} written`);
      return;
    }
    await pipe(body, counting, (chunks: AsyncIterable<Uint8Array>) => writeWhole(file, chunks));
  } catch (error) {
    // undici says `terminated` when the daemon goes away in the middle.
    throw error instanceof TypeError ? cut() : error;
  }
  await out.answer({
    json: { file, statements: count.lines, bytes: count.bytes },
    quiet: String(count.lines),
    human: () => [`${out.done} ${counted(count.lines, 'statement')} written to ${file}`],
  });
}

/**
 * Writes a file that appears under its name only when all of it is on disk, and never over another. Readable by its
 * owner alone: an export holds what the scopes would keep apart.
 */
async function writeWhole(file: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.part`;
  const handle = await open(temporary, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    // Of the file that was named; nobody knows the other one.
    error.path = file;
    throw error;
  });
  try {
    try {
      for await (const chunk of chunks) await handle.writeFile(chunk);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link fails where a rename would replace.
    await link(temporary, file);
    await syncDirectory(dirname(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw fileExists(file);
    throw error;
  } finally {
    await unlink(temporary);
  }
}

/** Sends the lines of a file in requests of bounded size, and adds up what the daemon says. */
export async function importFrom(session: Session, file: string): Promise<ExitCode> {
  const { out } = session;
  const client = await session.client();
  const total = { accepted: 0, duplicates: 0, rejected: 0 };
  const errors: ImportReport['errors'][number][] = [];
  await pipe(
    readSource(file, session.world.stdin),
    splitLines,
    (lines) =>
      inGroups(lines, { items: IMPORT_LINES, bytes: IMPORT_BYTES }, ({ text }: Line) => Buffer.byteLength(text)),
    async (groups: AsyncIterable<Line[]>) => {
      for await (const group of groups) {
        const text = group.map((line) => `${line.text}\n`).join('');
        const report = await client.postLines<ImportReport>('/v1/import', text);
        total.accepted += report.accepted;
        total.duplicates += report.duplicates;
        total.rejected += report.rejected;
        for (const error of report.errors) {
          // The daemon counts the lines of one request.
          errors.push({ ...error, line: group[error.line - 1]?.number ?? error.line });
        }
        errors.splice(MAX_LISTED_REFUSALS);
        out.progress(`line ${group.at(-1)?.number}: ${total.accepted} accepted`);
      }
    },
  );
  await out.answer({
    json: { file, ...total, errors, errors_truncated: total.rejected > errors.length },
    quiet: String(total.accepted),
    human: () => [
      `${out.mark(total.rejected === 0)} ${counted(total.accepted, 'statement')} accepted, ${total.duplicates} known already, ${total.rejected} refused`,
    ],
  });
  if (!out.json) {
    for (const { line, code, message } of errors) out.note(`line ${line}: ${message} (${code})`);
    if (total.rejected > errors.length) out.note(`… and ${total.rejected - errors.length} more`);
  }
  return total.rejected > 0 ? EXIT.failed : EXIT.ok;
}

function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

function fileExists(file: string): CliError {
  return new CliError('file_exists', `${file} exists already`, 'choose another name, or move that file away');
}

function cut(): CliError {
  return new CliError(
    'daemon_unreachable',
    'the daemon went away in the middle of the export',
    'start it and export again',
  );
}
