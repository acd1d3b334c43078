import { rootBody, rootFingerprint, setTag } from '../../src/sync/fingerprint.ts';
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  type Range,
  type SignedBytes,
  type Turn,
} from '../../src/sync/frames.ts';
import type { SyncResult, SyncSession, SyncSessionInit } from '../../src/sync/index.ts';
import { compareKeys, type Key } from '../../src/sync/key.ts';
import type { SetIndex } from '../../src/sync/set-index.ts';
import { BlockWriter, RangeWriter } from '../../src/sync/writers.ts';
import type { SyncSide } from './sync-pair.ts';

const MAX_ACTIONS = 200_000;
const OURS = Buffer.alloc(16, 1);
const THEIRS = Buffer.alloc(16, 2);

/** A peer whose every frame the test writes, against one real session. */
export class ScriptedPeer {
  readonly session: SyncSession;
  readonly nonces: readonly Uint8Array[];
  readonly #side: SyncSide;
  readonly #role: SyncSessionInit['role'];
  now = 0;
  cpuMs = 0;
  actions = 0;
  /** What the session sent since it was asked last. */
  heard: Frame[] = [];
  heardBytes: Uint8Array[] = [];

  constructor(side: SyncSide, role: SyncSessionInit['role'], init: Partial<SyncSessionInit> = {}) {
    this.#side = side;
    this.#role = role;
    this.session = side.session(role, { nonce: OURS, ...init });
    this.nonces = role === 'initiator' ? [OURS, THEIRS] : [THEIRS, OURS];
  }

  tag(name: string): string {
    return setTag(this.nonces, name);
  }

  /** Opens with roots that differ, so that sets are talked about. */
  begin(accepts = 2 ** 40): this {
    const nonce = THEIRS;
    if (this.#role === 'responder') this.give({ type: 'hello', nonce, root: Buffer.alloc(16, 9), accepts });
    else this.give({ type: 'welcome', nonce, proof: null, accepts });
    return this;
  }

  /** Gives frames, one whenever the session wants one; stops when it has ended. */
  give(...frames: readonly (Frame | Uint8Array)[]): this {
    for (const frame of frames) {
      if (this.#untilReceive() !== undefined) return this;
      this.session.receive(frame instanceof Uint8Array ? frame : encoded(frame), this.now);
    }
    return this;
  }

  /** Lets the session go on until it wants a frame; returns what it sent. */
  hear(): Frame[] {
    this.#untilReceive();
    const { heard } = this;
    this.heard = [];
    return heard;
  }

  /** Undefined while the session goes on. */
  result(): SyncResult | undefined {
    return this.#untilReceive();
  }

  turn(more: Partial<Turn> = {}): Frame {
    const none = { fin: false, pending: false, truncated: false, changed: false, gone: 0, refused: 0 };
    return { type: 'turn', ...none, check: Buffer.alloc(16), ...more };
  }

  /** The check an honest peer with these sets would give. */
  check(...sets: readonly SetIndex[]): Uint8Array {
    const role = this.#role === 'initiator' ? 'responder' : 'initiator';
    return rootFingerprint(role, this.nonces, rootBody(sets));
  }

  #untilReceive(): SyncResult | undefined {
    for (;;) {
      if (++this.actions > MAX_ACTIONS) throw new Error('the session never comes to rest');
      const action = this.session.next(this.now, this.cpuMs);
      if (action.do === 'end') return action.result;
      if (action.do === 'receive') return undefined;
      if (action.do === 'load') this.session.loaded(this.#side.load(action.digests));
      else if (action.do === 'deliver') this.session.delivered(this.#side.deliver(action.statements));
      else if (action.do === 'send') {
        this.heard.push(decodeFrame(action.frame));
        this.heardBytes.push(action.frame);
      }
    }
  }
}

export function encoded(frame: Frame): Uint8Array {
  if (frame.type === 'block') return block(...frame.statements);
  if (frame.type !== 'ranges') return encodeFrame(frame);
  const writer = new RangeWriter();
  for (const { tag, upper, ranges } of frame.sections) {
    let above = upper;
    for (const range of ranges) {
      writer.add(tag, above, range);
      above = range.lower;
    }
  }
  return writer.take()[0]!;
}

export function block(...statements: readonly SignedBytes[]): Uint8Array {
  const writer = new BlockWriter();
  for (const statement of statements) writer.add(statement);
  return writer.take()!;
}

export function ranges(tag: string, upper: Key, ...list: readonly Range[]): Frame {
  return {
    type: 'ranges',
    sections: [{ tag, upper, ranges: list.filter(({ lower }) => compareKeys(lower, upper) < 0) }],
  };
}
