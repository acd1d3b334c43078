import { once } from 'node:events';
import type { ErrorReport } from './errors.ts';
import { exitCodeOf } from './exit-codes.ts';
import { DEFAULT_COLUMNS, PROGRESS_MS } from './limits.ts';
import { type Column, recordLines, tableLines } from './table.ts';
import { printable, safeJson } from './text.ts';
import type { OutputStream } from './world.ts';

export interface OutputInit {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** `--json`: the answer as JSON on stdout, errors as JSON on stderr. */
  readonly json: boolean;
  /** `-q`: only the one value. */
  readonly quiet: boolean;
  /** Whether a stream that is a terminal gets colours. */
  readonly color: boolean;
  /** `--full`: cut nothing, whatever the terminal. */
  readonly full?: boolean;
  /** Monotonic milliseconds. */
  readonly uptime: () => number;
}

/** The three forms of one answer. */
export interface Answer {
  readonly json: unknown;
  /** The one value, or one a line. */
  readonly quiet: string | readonly string[] | (() => readonly string[]);
  readonly human: () => readonly string[];
}

/** SGR codes (ECMA-48, 8.3.117). */
const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const;

/** Human text on stdout, diagnostics on stderr. Everything that came from outside is made printable on the way. */
export class Output {
  readonly init: OutputInit;
  #lastProgress = Number.NEGATIVE_INFINITY;
  #progressShown = false;

  constructor(init: OutputInit) {
    this.init = init;
  }

  get json(): boolean {
    return this.init.json;
  }

  get quiet(): boolean {
    return this.init.quiet;
  }

  /** Columns of the terminal; undefined where nothing is to be cut. */
  get width(): number | undefined {
    const { stdout, full } = this.init;
    return stdout.isTTY && !full ? stdout.columns || DEFAULT_COLUMNS : undefined;
  }

  style(name: keyof typeof STYLES, text: string): string {
    return this.#styleOn(this.init.stdout, name, text);
  }

  #styleOn(stream: OutputStream, name: keyof typeof STYLES, text: string): string {
    if (!this.init.color || !stream.isTTY) return text;
    const [on, off] = STYLES[name];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  }

  /** The mark of something done. */
  get done(): string {
    return this.style('green', '✓');
  }

  /** The same, or the mark of something that was done in part. */
  mark(isWhole: boolean): string {
    return isWhole ? this.done : this.style('yellow', '!');
  }

  /** Answers in the form that was asked for. */
  async answer({ json, quiet, human }: Answer): Promise<void> {
    if (this.init.json) return this.writeJson(json);
    if (this.init.quiet) {
      const values = typeof quiet === 'function' ? quiet() : typeof quiet === 'string' ? [quiet] : quiet;
      return this.lines(values.map(printable));
    }
    return this.lines(human());
  }

  /** One JSON document: indented for people, on one line for programs. */
  async writeJson(value: unknown): Promise<void> {
    await this.lines([safeJson(value, this.init.stdout.isTTY ? 2 : undefined)]);
  }

  /** Lines of stdout, printable already. Waits while the reader is slower. */
  async lines(lines: readonly string[]): Promise<void> {
    this.endProgress();
    if (lines.length > 0) await this.write(`${lines.join('\n')}\n`);
  }

  /** Bytes or text of stdout as they are. */
  async write(chunk: string | Uint8Array): Promise<void> {
    const { stdout } = this.init;
    if (!stdout.write(chunk)) await once(stdout, 'drain');
  }

  table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
    return tableLines(columns, rows, { width: this.width, title: (line) => this.style('bold', line) });
  }

  record(fields: Parameters<typeof recordLines>[0]): string[] {
    return recordLines(fields, (name) => this.style('dim', name));
  }

  /** A remark beside the answer, on stderr. */
  note(text: string): void {
    this.#diagnose(printable(text));
  }

  warn(text: string): void {
    this.#diagnose(`${this.#styleError('yellow', 'warning:')} ${printable(text)}`);
  }

  /** What the daemon remarks on a fact. Remarks on a source that nobody typed are of no use to anybody. */
  factWarnings(warnings: readonly string[], untypedSource: string | undefined): void {
    if (this.init.json) return;
    for (const warning of warnings) {
      const isOurs = untypedSource !== undefined && warning.includes('source') && warning.includes(untypedSource);
      if (!isOurs) this.warn(warning);
    }
  }

  error(report: ErrorReport): void {
    this.endProgress();
    if (this.init.json) {
      const { code, message, hint, status, causes } = report;
      const error = { code, message, hint, ...(status === undefined ? {} : { status }), exit_code: exitCodeOf(report) };
      this.#diagnose(safeJson({ error: causes.length === 0 ? error : { ...error, causes } }));
      return;
    }
    const [first = '', ...rest] = report.message.split('\n').map(printable);
    this.#diagnose(`${this.#styleError('red', 'error:')} ${first}`);
    for (const line of rest) this.#diagnose(line);
    for (const cause of report.causes) this.#diagnose(`cause: ${printable(cause)}`);
    if (report.stack !== undefined)
      for (const line of report.stack.split('\n').slice(1)) this.#diagnose(printable(line));
    this.#diagnose(`hint: ${printable(report.hint)}`);
  }

  /** Progress of something long, written over itself on a terminal and not at all elsewhere. */
  progress(text: string): void {
    const { stderr, quiet, uptime } = this.init;
    if (!stderr.isTTY || quiet || uptime() - this.#lastProgress < PROGRESS_MS) return;
    this.#lastProgress = uptime();
    this.#progressShown = true;
    stderr.write(`\r\u001b[K${printable(text)}`);
  }

  endProgress(): void {
    if (!this.#progressShown) return;
    this.#progressShown = false;
    this.init.stderr.write('\r\u001b[K');
  }

  #diagnose(line: string): void {
    this.endProgress();
    this.init.stderr.write(`${line}\n`);
  }

  #styleError(name: keyof typeof STYLES, text: string): string {
    return this.#styleOn(this.init.stderr, name, text);
  }
}
