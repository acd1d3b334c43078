import { type Digest, isAuthority, sha256 } from '../facts/index.ts';
import type { WireStatement } from '../node/federation.ts';
import type { ManifestService, SetsService } from '../node/mesh-services.ts';
import { namedSet, PROTOCOL_NAMESPACE } from '../policy/sets.ts';
import { isShared, type Pairing } from '../policy/sharing.ts';
import { BlockBuilder, decodeBlock, encodeBlock } from './block.ts';
import { FETCH_ANSWER_GRID_MS, FETCH_BLOCK_BYTES, FETCH_TIMEOUT_MS, MAX_FETCH_DIGESTS } from './data-limits.ts';
import {
  isPeersFault,
  type MeshError,
  malformedFrame,
  protocolViolation,
  streamClosed,
  streamTimeout,
  unrequested,
} from './errors.ts';
import type { InboundGate } from './inbound-gate.ts';
import { MAX_FRAME_BYTES } from './limits.ts';
import { DIGEST_BYTES } from './push-frames.ts';
import { digestKey } from './recent-digests.ts';
import type { Scores } from './scores.ts';
import { delay } from './timers.ts';
import type { FrameStream, Protocol, Transport } from './transport.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

/** `/stigmesh/fetch/1.0.0` (protocols/fetch): statements by digest, manifests by the name of their organisation. */
export const FETCH: Protocol = {
  id: '/stigmesh/fetch/1.0.0',
  maxFrame: MAX_FRAME_BYTES,
  maxInboundStreams: 8,
  idleMs: 10_000,
};

const TYPE = { statements: 0x01, manifest: 0x02 } as const;

export type FetchRequest =
  | { readonly type: 'statements'; readonly digests: readonly Digest[] }
  | { readonly type: 'manifest'; readonly authority: string };

export function encodeFetchRequest(request: FetchRequest): Uint8Array {
  if (request.type === 'manifest') return Buffer.concat([Buffer.of(TYPE.manifest), Buffer.from(request.authority)]);
  return Buffer.concat([Buffer.of(TYPE.statements), ...request.digests]);
}

/** @throws MeshError `malformed_frame` */
export function decodeFetchRequest(frame: Uint8Array): FetchRequest {
  const body = frame.subarray(1);
  if (frame[0] === TYPE.statements) {
    const count = body.length / DIGEST_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > MAX_FETCH_DIGESTS) throw malformedFrame('not whole digests');
    const digestAt = (_: unknown, at: number): Digest => body.slice(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES);
    return { type: 'statements', digests: Array.from({ length: count }, digestAt) };
  }
  if (frame[0] === TYPE.manifest && body.length <= 253) {
    const authority = Buffer.from(body).toString('latin1');
    if (isAuthority(authority)) return { type: 'manifest', authority };
  }
  throw malformedFrame('an unknown request');
}

export interface FetchServerComponents {
  readonly sets: Pick<SetsService, 'read'>;
  readonly manifests: Pick<ManifestService, 'statement'>;
  readonly peering: Pick<PeeringView, 'pairing'>;
  readonly gate: Pick<InboundGate, 'take'>;
  readonly scores: Pick<Scores, 'refuse'>;
  readonly world: MeshWorld;
}

/**
 * Answers fetches. What the peer may not hold is answered as what nobody has: the same steps, nothing in the answer, and the
 * answer leaves at the same beat of a clock.
 */
export class FetchServer {
  readonly #components: FetchServerComponents;

  constructor(components: FetchServerComponents) {
    this.#components = components;
  }

  /** Serves one request. Never rejects. */
  readonly serve = async (stream: FrameStream): Promise<void> => {
    try {
      const frame = await stream.receive();
      if (frame !== undefined) await this.#answer(stream, decodeFetchRequest(frame));
      await stream.close();
    } catch (error) {
      if (isPeersFault(error)) this.#components.scores.refuse(stream.peerId, error.code);
      stream.abort(error instanceof Error ? error : new Error(String(error)));
    }
  };

  async #answer(stream: FrameStream, request: FetchRequest): Promise<void> {
    const { gate, peering, world } = this.#components;
    const { peerId } = stream;
    await gate.take(peerId, request.type === 'statements' ? request.digests.length : 1, 0);
    const pairing = peering.pairing(peerId);
    if (!pairing) throw inactive();
    const startedAt = world.now();
    const found = await this.#find(pairing, request);
    // A record that was read takes longer than one that is not there, by less than a beat.
    const beats = Math.floor((world.now() - startedAt) / FETCH_ANSWER_GRID_MS) + 1;
    await delay(world, startedAt + beats * FETCH_ANSWER_GRID_MS - world.now());
    const builder = new BlockBuilder(FETCH_BLOCK_BYTES);
    const send = async (): Promise<void> => {
      // What is sent counts as what is received does: 64 digests are an answer of 8 MiB.
      await gate.take(peerId, 1, builder.bytes);
      // A slow reader may have had its terms narrowed since.
      if (peering.pairing(peerId) !== pairing) throw inactive();
      await stream.send(encodeBlock(builder.take()));
    };
    for (const statement of found) {
      if (!builder.fits(statement)) await send();
      builder.add(statement);
    }
    await send();
  }

  async #find(pairing: Pairing, request: FetchRequest): Promise<WireStatement[]> {
    const { sets, manifests } = this.#components;
    if (request.type === 'statements') {
      return (await sets.read(pairing, request.digests)).filter((statement) => statement !== undefined);
    }
    // Before anything is read: what may not be had costs the same whether it is held or not.
    if (!isShared(namedSet('public', request.authority, PROTOCOL_NAMESPACE), pairing)) return [];
    const statement = await manifests.statement(request.authority);
    return statement ? [statement] : [];
  }
}

/** The peer is not active any more, or on other terms: it may ask again. */
function inactive(): MeshError {
  return streamClosed('the peer is not active on these terms any more');
}

export interface FetcherComponents {
  readonly transport: Pick<Transport, 'open'>;
  readonly scores: Pick<Scores, 'refuse'>;
  readonly world: MeshWorld;
}

/** Asks peers for statements. What they answer is checked against what was asked, and nothing else. */
export class Fetcher {
  readonly #components: FetcherComponents;

  constructor(components: FetcherComponents) {
    this.#components = components;
  }

  /**
   * Statements by digest, at most {@link MAX_FETCH_DIGESTS}; those the peer does not have, or may not show, are missing.
   *
   * @throws MeshError also for an answer that was not asked for; the peer is penalised then
   */
  async statements(peerId: string, digests: readonly Digest[], signal?: AbortSignal): Promise<WireStatement[]> {
    const asked = new Set(digests.map(digestKey));
    return this.#ask(peerId, { type: 'statements', digests }, digests.length, signal, ({ bytes }) =>
      asked.delete(digestKey(sha256(bytes))),
    );
  }

  /** The statement that carries the newest manifest a peer has of an organisation; undefined when it has none. */
  async manifest(peerId: string, authority: string, signal?: AbortSignal): Promise<WireStatement | undefined> {
    const [statement] = await this.#ask(peerId, { type: 'manifest', authority }, 1, signal, () => true);
    return statement;
  }

  async #ask(
    peerId: string,
    request: FetchRequest,
    most: number,
    signal: AbortSignal | undefined,
    wasAsked: (statement: WireStatement) => boolean,
  ): Promise<WireStatement[]> {
    const { transport, scores, world } = this.#components;
    const stream = await transport.open(peerId, FETCH);
    const abort = (): void => stream.abort(new Error('the fetch was given up'));
    // The protocol bounds the time between frames; this bounds the whole of it.
    const timer = world.setTimeout(() => {
      stream.abort(streamTimeout('the fetch did not end', FETCH_TIMEOUT_MS));
    }, FETCH_TIMEOUT_MS);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    try {
      await stream.send(encodeFetchRequest(request));
      await stream.close();
      const statements: WireStatement[] = [];
      for (let isFirst = true; ; isFirst = false) {
        const frame = await stream.receive();
        if (frame === undefined) return statements;
        const block = decodeBlock(frame);
        // Nothing is said once and ends the answer: there is no endless one.
        if (!isFirst && (block.length === 0 || statements.length === 0)) throw protocolViolation('more than nothing');
        if (statements.length + block.length > most || !block.every(wasAsked)) throw unrequested('a statement');
        statements.push(...block);
      }
    } catch (error) {
      if (isPeersFault(error)) scores.refuse(peerId, error.code);
      abort();
      throw error;
    } finally {
      world.clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
  }
}
