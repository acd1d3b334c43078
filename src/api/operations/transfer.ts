import { setImmediate as turn } from 'node:timers/promises';
import { z } from 'zod';
import { canonicalBytes, type JsonObject } from '../../facts/index.ts';
import type { ExportedStatement, ImportOutcome } from '../../node/types.ts';
import { ApiError } from '../errors.ts';
import { parseStrictJson } from '../json.ts';
import { IMPORT_CHUNK, IMPORT_CHUNK_BYTES, MAX_IMPORT_ERRORS, MAX_IMPORT_LINE_BYTES } from '../limits.ts';
import type { ApiMetrics } from '../metrics.ts';
import { detailText, problemOf } from '../problem.ts';
import * as schema from '../schema/records.ts';
import { base64url } from '../wire.ts';
import { lines } from './lines.ts';
import { type Call, type StreamEndpoint, streamEndpoint, type UploadEndpoint } from './operation.ts';

/** Work between two turns of the event loop while lines are read: their bytes, and what any line costs (about 3 ms). */
const IMPORT_SLICE = 256 * 1024;
const LINE_WORK = 1024;

/** One line of an export: `{"id":…,"sig":…,"statement":{…}}`; the statement in its canonical form. */
export function exportLine({ id, sig, bytes }: ExportedStatement): string {
  const statement = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  return `{"id":${JSON.stringify(id)},"sig":"${base64url(sig)}","statement":${statement}}\n`;
}

const importedLine = z.object({
  sig: z.string().regex(/^[A-Za-z0-9_-]{86}$/),
  statement: z.record(z.string(), z.unknown()),
});

type Signed = { readonly bytes: Uint8Array; readonly sig: Uint8Array };

/**
 * The statement of a line. Whatever white space or member order a tool gave it, its RFC 8785 form is what was signed.
 *
 * @throws ApiError, FactError
 */
export function readLine(line: Uint8Array): Signed {
  // The line is short, and how many members a piece of evidence has was its origin's choice.
  const parsed = importedLine.safeParse(parseStrictJson(line, Number.POSITIVE_INFINITY));
  if (!parsed.success) {
    throw new ApiError('validation_failed', 'not a line of an export', 'a line is {"id":…,"sig":…,"statement":{…}}', {
      detail: 'not a line of an export: {"id":…,"sig":…,"statement":{…}} expected',
    });
  }
  return {
    bytes: canonicalBytes(parsed.data.statement as JsonObject),
    sig: Buffer.from(parsed.data.sig, 'base64url'),
  };
}

/** Counts outcomes and keeps the first refusals. */
class Report {
  readonly #metrics: ApiMetrics;
  accepted = 0;
  duplicates = 0;
  rejected = 0;
  readonly errors: { line: number; code: string; message: string }[] = [];

  constructor(metrics: ApiMetrics) {
    this.#metrics = metrics;
  }

  add(line: number, outcome: ImportOutcome): void {
    if (outcome.status === 'rejected') {
      this.reject(line, outcome.code, outcome.message);
      return;
    }
    this.#metrics.importedStatements.inc({ outcome: outcome.status });
    if (outcome.status === 'accepted') this.accepted++;
    else this.duplicates++;
  }

  reject(line: number, code: string, message: string): void {
    this.rejected++;
    this.#metrics.importedStatements.inc({ outcome: 'rejected' });
    this.#metrics.itemRefusals.inc({ code });
    if (this.errors.length < MAX_IMPORT_ERRORS) this.errors.push({ line, code, message });
  }

  get body(): z.output<typeof schema.importReport> {
    const { accepted, duplicates, rejected, errors } = this;
    return { accepted, duplicates, rejected, errors, errors_truncated: rejected > errors.length };
  }
}

async function receiveImport(call: Call, body: AsyncIterable<Uint8Array>) {
  const report = new Report(call.metrics);
  let chunk: (Signed & { readonly line: number })[] = [];
  let size = 0;
  const flush = async () => {
    const outcomes = await call.components.importStatements(call.who, chunk);
    for (const [index, outcome] of outcomes.entries()) report.add(chunk[index]!.line, outcome);
    chunk = [];
    size = 0;
  };
  let work = 0;
  for await (const { number, bytes } of lines(body, MAX_IMPORT_LINE_BYTES)) {
    work += LINE_WORK + (bytes?.length ?? 0);
    if (work >= IMPORT_SLICE) {
      work = 0;
      await turn();
    }
    if (bytes === null) {
      report.reject(number, 'statement_too_large', `the line is longer than ${MAX_IMPORT_LINE_BYTES} bytes`);
      continue;
    }
    try {
      chunk.push({ line: number, ...readLine(bytes) });
    } catch (error) {
      const { problem } = problemOf(error);
      report.reject(number, problem.code, detailText(problem));
      continue;
    }
    size += bytes.length;
    if (chunk.length >= IMPORT_CHUNK || size >= IMPORT_CHUNK_BYTES) await flush();
  }
  if (chunk.length > 0) await flush();
  return { body: report.body };
}

async function* exportLines(call: Call): AsyncIterable<string> {
  for await (const statement of call.components.exportStatements(call.who)) yield exportLine(statement);
}

export const exportEndpoint: StreamEndpoint = streamEndpoint({
  name: 'node.export',
  method: 'GET',
  path: '/v1/export',
  status: 200,
  tag: 'transfer',
  summary: 'Every statement of the log with its signature, one JSON object a line',
  access: ['admin'],
  rate: 'read',
  produces: 'application/x-ndjson',
  input: {},
  errors: [],
  stream: async (call) => ({ contentType: 'application/x-ndjson', chunks: exportLines(call) }),
});

export const importEndpoint: UploadEndpoint = {
  kind: 'upload',
  name: 'node.import',
  method: 'POST',
  path: '/v1/import',
  status: 200,
  tag: 'transfer',
  summary: 'Admit the statements of an export',
  description:
    'Each line passes every check a statement passes anywhere; a refused line does not hinder the rest. Lines that ' +
    'were admitted stay so when the connection breaks: import again, duplicates are recognised.',
  access: ['admin'],
  rate: 'write',
  consumes: 'application/x-ndjson',
  input: {},
  output: schema.importReport,
  errors: ['request_timeout'],
  receive: receiveImport,
};
