import { createHash } from 'node:crypto';
import { formatHlc, type Hlc, isHlc } from '../../src/facts/index.ts';
import {
  type Delivery,
  SetIndex,
  type SignedBytes,
  type SyncAction,
  type SyncResult,
  SyncSession,
  type SyncSessionInit,
} from '../../src/sync/index.ts';
import type { Random } from './random.ts';

/** A statement as tests of reconciliation make it: nothing but its set, clock reading and some bytes. */
export interface FakeStatement extends SignedBytes {
  readonly set: string;
  readonly hlc: Hlc;
  readonly digest: Uint8Array;
}

/** The statement number `n` of a set: the same everywhere. */
export function fakeStatement(set: string, hlc: Hlc, n: number | string, padding = 0): FakeStatement {
  const bytes = Buffer.from(`${set} ${hlc} ${n}${'.'.repeat(padding)}`);
  const digest = createHash('sha256').update(bytes).digest();
  return { set, hlc, digest, bytes, signature: Buffer.alloc(64, digest) };
}

/** One side: indexes and, by digest, the statements they are of. */
export class SyncSide {
  readonly indexes = new Map<string, SetIndex>();
  readonly statements = new Map<string, FakeStatement>();
  /** Statements it would not admit. */
  readonly refused = new Set<string>();
  /** Names it may share; undefined: all. */
  readonly shares: ((set: string) => boolean) | undefined;

  constructor(shares?: (set: string) => boolean) {
    this.shares = shares;
  }

  index(set: string): SetIndex {
    let index = this.indexes.get(set);
    if (!index) {
      index = new SetIndex(set);
      this.indexes.set(set, index);
    }
    return index;
  }

  add(...statements: readonly FakeStatement[]): void {
    for (const statement of statements) {
      this.statements.set(hex(statement.digest), statement);
      this.index(statement.set).insert(statement.hlc, statement.digest);
    }
  }

  session(role: SyncSessionInit['role'], init: Partial<SyncSessionInit> = {}): SyncSession {
    const shares = this.shares ?? (() => true);
    return new SyncSession({
      role,
      nonce: Buffer.alloc(16, role),
      sets: [...this.indexes.values()].filter(({ name }) => shares(name)),
      accept: (name) => (shares(name) ? this.index(name) : undefined),
      now: 0,
      ...init,
    });
  }

  load(digests: readonly Uint8Array[]): (SignedBytes | undefined)[] {
    return digests.map((digest) => this.statements.get(hex(digest)));
  }

  deliver(statements: readonly SignedBytes[]): Delivery {
    const delivery = { accepted: 0, known: 0, refused: 0 };
    for (const one of statements) {
      const [bytes, signature] = [Buffer.from(one.bytes), Buffer.from(one.signature)];
      const [set, hlc] = bytes.toString().split(' ') as [string, Hlc];
      const statement = { set, hlc, bytes, signature, digest: createHash('sha256').update(bytes).digest() };
      if (
        !isHlc(hlc) ||
        !this.indexes.has(set) ||
        Buffer.compare(signature, Buffer.alloc(64, statement.digest)) !== 0
      ) {
        delivery.refused += 1;
      } else if (this.refused.has(hex(statement.digest))) delivery.refused += 1;
      else if (this.index(set).has(hlc, statement.digest)) delivery.known += 1;
      else {
        this.add(statement);
        delivery.accepted += 1;
      }
    }
    return delivery;
  }
}

export interface PairOutcome {
  readonly initiator: SyncResult;
  readonly responder: SyncResult;
  /** Two turns, one of either side, are one. */
  readonly roundTrips: number;
  /** Bytes both ways with the lengths that delimit frames. */
  readonly bytes: number;
  /** Of these, what is not statements and their signatures. */
  readonly overhead: number;
  /** Longest single call of a session, in milliseconds. */
  readonly longestStepMs: number;
  readonly ms: number;
}

export interface PairInit {
  readonly initiator?: Partial<SyncSessionInit>;
  readonly responder?: Partial<SyncSessionInit>;
  /** Called after every action; may change either side. */
  readonly meanwhile?: (actions: number) => void;
  /** May replace a frame on its way, or undefined: the stream breaks. */
  readonly onFrame?: (frame: Uint8Array, from: 'initiator' | 'responder') => Uint8Array | undefined;
}

const MAX_ACTIONS = 1_000_000;
/** What delimits a frame on a stream. */
const LENGTH_BYTES = 4;

/** Runs one session between two sides in memory, to its end on both. */
export function runPair(initiator: SyncSide, responder: SyncSide, init: PairInit = {}): PairOutcome {
  const begin = performance.now();
  let longestStepMs = 0;
  const timed = <T>(run: () => T): T => {
    const start = performance.now();
    const value = run();
    longestStepMs = Math.max(longestStepMs, performance.now() - start);
    return value;
  };
  const ends = [
    {
      side: initiator,
      name: 'initiator' as const,
      session: timed(() => initiator.session('initiator', init.initiator)),
    },
    {
      side: responder,
      name: 'responder' as const,
      session: timed(() => responder.session('responder', init.responder)),
    },
  ].map((end) => ({ ...end, inbox: [] as Uint8Array[], result: undefined as SyncResult | undefined }));
  let bytes = 0;
  let actions = 0;
  let at = 0;
  while (ends.some(({ result }) => result === undefined)) {
    const end = ends[at]!;
    const peer = ends[1 - at]!;
    if (++actions > MAX_ACTIONS) throw new Error('the sessions never end');
    init.meanwhile?.(actions);
    const action: SyncAction = timed(() => end.session.next(0));
    switch (action.do) {
      case 'send': {
        const frame = init.onFrame ? init.onFrame(action.frame, end.name) : action.frame;
        bytes += action.frame.length + LENGTH_BYTES;
        if (frame) peer.inbox.push(frame);
        else for (const one of ends) one.session.close('disconnected');
        break;
      }
      case 'receive': {
        const frame = end.inbox.shift();
        if (frame) timed(() => end.session.receive(frame, 0));
        else if (peer.result) end.session.close('disconnected');
        else at = 1 - at;
        break;
      }
      case 'load':
        end.session.loaded(end.side.load(action.digests));
        break;
      case 'deliver':
        end.session.delivered(end.side.deliver(action.statements));
        break;
      case 'end':
        end.result = action.result;
        at = 1 - at;
        break;
    }
  }
  const [first, second] = ends.map(({ result }) => result!) as [SyncResult, SyncResult];
  const statements = first.counters.statementBytesOut + second.counters.statementBytesOut;
  return {
    initiator: first,
    responder: second,
    roundTrips: Math.ceil(Math.max(first.counters.turns, second.counters.turns) / 2),
    bytes,
    overhead: bytes - statements,
    longestStepMs,
    ms: performance.now() - begin,
  };
}

/** Items of a large set without statements behind them: ascending readings, random digests. */
export function* syntheticItems(count: number, random: Random, stepMs = 2500): Generator<[Hlc, Uint8Array]> {
  let wall = 1_790_000_000_000;
  const words = new Uint32Array(8);
  for (let n = 0; n < count; n++) {
    wall += 1 + random.below(stepMs);
    for (let word = 0; word < 8; word++) words[word] = random.below(2 ** 32);
    yield [formatHlc(wall, random.below(4) === 0 ? random.below(1000) : 0), new Uint8Array(words.buffer.slice(0))];
  }
}

function hex(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex');
}
