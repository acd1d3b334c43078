import type { z } from 'zod';
import type { FactRecord } from '../api/schema/facts.ts';
import type { nodeStatus } from '../api/schema/records.ts';
import type { Client } from './client.ts';
import { CliError, ProblemError, reportOf } from './errors.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { factLine } from './fact-text.ts';
import { WATCH_BACKOFF_MS, WATCH_SILENCE_MS } from './limits.ts';
import { shortPeer } from './peer-text.ts';
import type { Session } from './session.ts';
import { readEvents, type ServerEvent, type SseState } from './sse.ts';
import { printable, safeJson, shortId } from './text.ts';
import { valueText } from './values.ts';

export interface WatchOptions {
  readonly entity?: string;
  readonly scope?: string;
  readonly source?: string;
  readonly since?: number;
  readonly count?: number;
  readonly mesh?: boolean;
}

/** Follows the commit feed until a signal or `--count` ends it. A daemon that goes away is waited for. */
export async function watch(session: Session, relation: string | undefined, options: WatchOptions): Promise<ExitCode> {
  const { world, out } = session;
  const ending = new AbortController();
  const releases = (['SIGINT', 'SIGTERM'] as const).map((name) => world.onSignal(name, () => ending.abort()));
  try {
    const client = await session.client();
    // From the start on there is a position to resume from, so that a connection lost before the first event loses none.
    const state: SseState = { lastEventId: String(options.since ?? (await headOf(client))) };
    const follower = new Follower(session, client, { relation, ...options }, state, ending);
    if (!out.quiet && !out.json) out.note(`watching ${relation ?? 'everything'} at ${client.url}; Ctrl-C ends it`);
    await follower.run();
    return EXIT.ok;
  } finally {
    for (const release of releases) release();
  }
}

async function headOf(client: Client): Promise<number> {
  return (await client.get<z.output<typeof nodeStatus>>('/v1/status')).seq;
}

class Follower {
  readonly #session: Session;
  #client: Client;
  readonly #options: WatchOptions & { readonly relation: string | undefined };
  readonly #state: SseState;
  readonly #ending: AbortController;
  #seen = 0;

  constructor(
    session: Session,
    client: Client,
    options: WatchOptions & { readonly relation: string | undefined },
    state: SseState,
    ending: AbortController,
  ) {
    this.#session = session;
    this.#client = client;
    this.#options = options;
    this.#state = state;
    this.#ending = ending;
  }

  async run(): Promise<void> {
    const { out, world } = this.#session;
    const { signal } = this.#ending;
    let pause: number = WATCH_BACKOFF_MS.first;
    let hadConnection = false;
    while (!signal.aborted) {
      try {
        await this.#connect(() => {
          pause = WATCH_BACKOFF_MS.first;
          hadConnection = true;
        });
        if (!signal.aborted) out.note('the daemon ended the stream; connecting again');
      } catch (error) {
        if (signal.aborted) return;
        // Before there was any connection, what is wrong will not mend itself; a refusal of the key never does.
        if (!hadConnection || !mayPass(error)) throw error;
        out.note(`${reportOf(error).message}; trying again in ${pause / 1000} s`);
      }
      await world.sleep(pause, signal).catch(() => {});
      pause = Math.min(pause * 2, WATCH_BACKOFF_MS.last);
      // A daemon that was started again may listen elsewhere.
      if (!signal.aborted) this.#client = await this.#session.client().catch(() => this.#client);
    }
  }

  /** One connection, to its end. */
  async #connect(connected: () => void): Promise<void> {
    const { entity, relation, scope, source, mesh } = this.#options;
    const silence = new AbortController();
    const signal = AbortSignal.any([this.#ending.signal, silence.signal]);
    let timer = setTimeout(() => silence.abort(), WATCH_SILENCE_MS);
    const restart = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), WATCH_SILENCE_MS);
    };
    try {
      const response = await this.#client.stream('/v1/events', 'text/event-stream', {
        query: { entity, relation, scope, source, events: mesh ? ['commits', 'mesh'] : ['commits'] },
        headers: { 'last-event-id': this.#state.lastEventId },
        signal,
      });
      connected();
      const body = response.body as unknown as AsyncIterable<Uint8Array> | null;
      if (body === null) return;
      for await (const event of readEvents(alive(body, restart), this.#state)) {
        await this.#show(event);
        if (this.#seen === this.#options.count) this.#ending.abort();
        if (this.#ending.signal.aborted) return;
      }
    } catch (error) {
      if (silence.signal.aborted && !this.#ending.signal.aborted) {
        throw new CliError(
          'daemon_timeout',
          `nothing was heard for ${WATCH_SILENCE_MS / 1000} s`,
          'look at the daemon',
        );
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #show({ event, data }: ServerEvent): Promise<void> {
    const { out } = this.#session;
    const parsed = JSON.parse(data) as Record<string, unknown>;
    if (event === 'reset') {
      // Not counted: it is about the stream.
      out.warn('reset: the log of this daemon is not the one watched before; query again for what was missed');
      if (out.json) await out.lines([safeJson({ event, id: this.#state.lastEventId, data: parsed })]);
      return;
    }
    this.#seen += 1;
    // What happens on the mesh has no place in the log to resume from.
    const id = event.includes('.') ? null : this.#state.lastEventId;
    if (out.json) return out.lines([safeJson({ event, id, data: parsed })]);
    if (event === 'fact') {
      const fact = parsed as unknown as FactRecord;
      return out.lines([out.quiet ? printable(valueText(fact.value)) : factLine(out, fact)]);
    }
    if (out.quiet) return;
    if (event === 'resolution') return out.lines([resolutionLine(parsed)]);
    await out.lines([meshLine(event, parsed)]);
  }
}

function resolutionLine(data: Record<string, unknown>): string {
  const { timestamp, entity, relation, verdict, winning_fact_id, source } = data;
  const winner = typeof winning_fact_id === 'string' ? `${shortId(winning_fact_id)} holds` : String(verdict);
  return printable(`${timestamp}  ${entity}  ${relation}  resolved: ${winner}  ${source}`);
}

/** Events of the mesh differ in few members: what is there is shown. */
function meshLine(event: string, data: Record<string, unknown>): string {
  const { at, peer_id, org, ...rest } = data;
  const who = typeof peer_id === 'string' ? [shortPeer(peer_id), ...(org === null ? [] : [String(org)])] : [];
  const members = Object.entries(rest).map(([name, value]) => `${name} ${String(value)}`);
  return printable([...(at === undefined ? [] : [String(at)]), event, ...who, members.join(', ')].join('  '));
}

/** Whether waiting may help: the daemon restarts, is busy, or the network is down. */
function mayPass(error: unknown): boolean {
  if (error instanceof ProblemError) return error.status === 429 || error.status === 503;
  if (error instanceof CliError)
    return ['daemon_not_running', 'daemon_timeout', 'daemon_unreachable'].includes(error.code);
  // What undici throws when a body is cut: TypeError `terminated`.
  return error instanceof TypeError;
}

async function* alive(source: AsyncIterable<Uint8Array>, heard: () => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    heard();
    yield chunk;
  }
}
