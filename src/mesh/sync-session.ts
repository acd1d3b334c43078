import { setImmediate as nextTurn } from 'node:timers/promises';
import { sha256 } from '../facts/index.ts';
import type { NodeSet } from '../node/federation.ts';
import type { SetCommit, SetsService } from '../node/mesh-services.ts';
import { isShared } from '../policy/sharing.ts';
import {
  MAX_FRAME_BYTES,
  MAX_SESSION_SETS,
  SetIndex,
  type SignedBytes,
  SYNC_PROTOCOL,
  type SyncResult,
  SyncSession,
} from '../sync/index.ts';
import { wireSize } from './block.ts';
import { MAX_BLOCK_STATEMENTS, MAX_NAMED_SETS, SYNC_DEADLINE_GRACE_MS } from './data-limits.ts';
import { isPeersFault } from './errors.ts';
import type { InboundGate } from './inbound-gate.ts';
import { type Intake, NotAdmitted } from './intake.ts';
import type { RecentDigests } from './recent-digests.ts';
import type { Scores } from './scores.ts';
import { parseSetName } from './set-names.ts';
import { elapsedClock } from './timers.ts';
import type { FrameStream, Protocol } from './transport.ts';
import type { PeeringView } from './types.ts';
import type { MeshWorld } from './world.ts';

/** `/stigmesh/sync/1.0.0` (protocols/sync). */
export const SYNC: Protocol = {
  id: SYNC_PROTOCOL,
  maxFrame: MAX_FRAME_BYTES,
  // One session at a time, and one that is about to be refused because of it.
  maxInboundStreams: 2,
  idleMs: 60_000,
};

export interface DriveComponents {
  readonly sets: Pick<SetsService, 'get' | 'list' | 'read' | 'on'>;
  readonly intake: Pick<Intake, 'admit'>;
  readonly gate: Pick<InboundGate, 'take'>;
  readonly peering: Pick<PeeringView, 'pairing'>;
  readonly scores: Pick<Scores, 'refuse'>;
  readonly world: MeshWorld;
  /** CPU milliseconds, for the budget. */
  readonly cpu: () => number;
}

export interface DriveInit {
  readonly role: 'initiator' | 'responder';
  /** Statements that were refused from this peer: not asked for again until then (Unix ms). */
  readonly refused: RecentDigests<number>;
  /** Names of sets the peer does not share, although its terms say so. */
  readonly notShared: ReadonlySet<string>;
  /** How long a statement that was refused is not asked for again, ms. */
  readonly refusalMs: (isRetryable: boolean) => number;
  readonly signal: AbortSignal;
}

/**
 * Runs one session of reconciliation over a stream: does what the engine says, until it says that it ended. Never rejects
 * because of the peer or the stream: that is a result.
 *
 * @throws what the node cannot help with: StoreError, NodeError
 */
export async function driveSession(
  components: DriveComponents,
  init: DriveInit,
  stream: FrameStream,
): Promise<SyncResult> {
  const { sets, peering, world } = components;
  const { peerId } = stream;
  const { signal, notShared } = init;
  const now = elapsedClock(() => world.now());
  const pairing = peering.pairing(peerId);
  const named = new Map<string, SetIndex>();
  const session = new SyncSession({
    role: init.role,
    nonce: world.randomBytes(16),
    sets: pairing ? indexesOf(sets.list(pairing), notShared) : [],
    accept: (name) => {
      const set = parseSetName(name);
      const terms = peering.pairing(peerId);
      if (!set || !terms || !isShared(set, terms)) return undefined;
      const known = sets.get(name)?.index;
      if (known || named.size >= MAX_NAMED_SETS) return known;
      const index = new SetIndex(name);
      named.set(name, index);
      return index;
    },
    isUnwanted: (digest) => (init.refused.get(digest) ?? 0) > world.now(),
    now: now(),
  });
  // A set that the peer was the first to name has no index of the node's yet.
  const unfollow = sets.on((commits: readonly SetCommit[]) => {
    for (const { set, hlc, digest } of commits) named.get(set.name)?.insert(hlc, digest);
  });
  const stop = (why: string, reason: 'stopped' | 'budget_time' = 'stopped'): void => {
    session.close(reason, why);
    stream.abort(new Error(why));
  };
  const onAbort = (): void => stop('the session was ended here');
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  const timer = world.setTimeout(
    () => stop('the session took too long', 'budget_time'),
    session.deadline - now() + SYNC_DEADLINE_GRACE_MS,
  );
  try {
    return await drive(components, init, session, stream, now);
  } catch (error) {
    stop('a failure on this side');
    throw error;
  } finally {
    world.clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    unfollow();
  }
}

async function drive(
  components: DriveComponents,
  init: DriveInit,
  session: SyncSession,
  stream: FrameStream,
  now: () => number,
): Promise<SyncResult> {
  const { sets, peering, scores, cpu } = components;
  let spent = 0;
  const measured = <T>(run: () => T): T => {
    const from = cpu();
    const result = run();
    spent += cpu() - from;
    return result;
  };
  for (;;) {
    const action = measured(() => session.next(now(), spent));
    if (action.do === 'end') {
      await stream.close().catch(() => {});
      return action.result;
    }
    if (action.do === 'yield') await nextTurn();
    else if (action.do === 'send') await stream.send(action.frame).catch((error) => lost(session, error));
    else if (action.do === 'receive') {
      const frame = await stream.receive().catch((error) => {
        if (isPeersFault(error)) scores.refuse(stream.peerId, error.code);
        return lost(session, error);
      });
      if (frame === undefined) session.close('disconnected', 'the stream ended');
      else measured(() => session.receive(frame, now()));
    } else if (action.do === 'load') {
      const pairing = peering.pairing(stream.peerId);
      const found = pairing ? await sets.read(pairing, action.digests) : action.digests.map(() => undefined);
      session.loaded(found.map((one) => one && { bytes: one.bytes, signature: one.sig }));
    } else {
      const delivery = await deliver(components, init, stream.peerId, action.statements).catch((error: unknown) => {
        if (!(error instanceof NotAdmitted)) throw error;
        session.close('stopped', error.message);
        return undefined;
      });
      if (delivery) session.delivered(delivery);
    }
  }
}

/** No more than a session covers: both sides leave out the same, the last by name. */
function indexesOf(sets: readonly NodeSet<SetIndex>[], notShared: ReadonlySet<string>): SetIndex[] {
  const shared = sets.flatMap(({ set, index }) => (notShared.has(set.name) ? [] : [index]));
  return shared.slice(0, MAX_SESSION_SETS);
}

function lost(session: SyncSession, error: unknown): undefined {
  session.close('disconnected', error instanceof Error ? error.message : String(error));
}

async function deliver(
  { intake, gate, world }: DriveComponents,
  { refused, refusalMs, signal }: DriveInit,
  peerId: string,
  received: readonly SignedBytes[],
): Promise<{ accepted: number; known: number; refused: number }> {
  const counts = { accepted: 0, known: 0, refused: 0 };
  for (let at = 0; at < received.length; at += MAX_BLOCK_STATEMENTS) {
    const block = received
      .slice(at, at + MAX_BLOCK_STATEMENTS)
      .map(({ bytes, signature }) => ({ bytes, sig: signature }));
    const bytes = block.reduce((sum, one) => sum + wireSize(one), 0);
    await gate.take(peerId, block.length, bytes, signal);
    const outcomes = await intake.admit(peerId, 'sync', block, signal);
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.status === 'refused') {
        counts.refused += 1;
        refused.set(sha256(block[i]!.bytes), world.now() + refusalMs(outcome.retryable));
      } else if (outcome.status === 'accepted') counts.accepted += 1;
      else counts.known += 1;
    }
  }
  return counts;
}
