import { FactError } from './errors.ts';

/** Hybrid logical clock reading, `{13 digits wall ms}.{3 digits counter}`; text order is time order (facts.md). */
export type Hlc = string;

const PATTERN = /^\d{13}\.\d{3}$/;
const MAX_COUNTER = 999;
const MAX_WALL = 9_999_999_999_999;

export function isHlc(text: unknown): text is Hlc {
  return typeof text === 'string' && PATTERN.test(text);
}

export function formatHlc(wallMs: number, counter: number): Hlc {
  return `${String(wallMs).padStart(13, '0')}.${String(counter).padStart(3, '0')}`;
}

/** The last reading of an instant (Unix ms); of one beyond what a reading can say, the first or last there is. */
export function endOfInstant(unixMs: number): Hlc {
  return formatHlc(Math.min(MAX_WALL, Math.max(0, unixMs)), MAX_COUNTER);
}

/** Wall milliseconds of a reading. */
export function hlcWall(hlc: Hlc): number {
  return Number(hlc.slice(0, 13));
}

/** 64-bit big-endian form (44 bits of wall, 10 of counter): byte order is clock order; index keys use it. */
export function hlcToBytes(hlc: Hlc, into: Uint8Array, offset: number): void {
  const wall = hlcWall(hlc);
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  view.setUint32(offset, Math.floor(wall / 2 ** 22));
  view.setUint32(offset + 4, (wall % 2 ** 22) * 1024 + Number(hlc.slice(14)));
}

/** Inverse of {@link hlcToBytes}. */
export function hlcFromBytes(from: Uint8Array, offset: number): Hlc {
  const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
  const low = view.getUint32(offset + 4);
  return formatHlc(view.getUint32(offset) * 2 ** 22 + Math.floor(low / 1024), low % 1024);
}

export interface HybridLogicalClockInit {
  /** Physical clock, Unix milliseconds. */
  readonly now: () => number;
  /** High-water mark of the previous run; readings continue strictly above it. */
  readonly last?: Hlc | undefined;
}

/**
 * The clock of one node (Kulkarni et al. 2014). Readings strictly increase, also across restarts (give `last`) and
 * when the physical clock jumps back. When the counter would pass 999 the wall part borrows the next millisecond, so
 * that width and order are kept.
 */
export class HybridLogicalClock {
  readonly #now: () => number;
  #wall = 0;
  #counter = -1;

  constructor(init: HybridLogicalClockInit) {
    this.#now = init.now;
    if (init.last !== undefined) {
      this.#wall = hlcWall(init.last);
      this.#counter = Number(init.last.slice(14));
    }
  }

  /** A reading above every earlier one. */
  tick(): Hlc {
    const now = Math.max(0, Math.floor(this.#now()));
    if (now > this.#wall) {
      this.#wall = now;
      this.#counter = 0;
    } else if (this.#counter >= MAX_COUNTER) {
      this.#wall += 1;
      this.#counter = 0;
    } else this.#counter += 1;
    if (this.#wall > MAX_WALL) {
      throw new FactError('invalid_hlc', 'the wall clock is past the year 2286', 'correct the system clock');
    }
    return formatHlc(this.#wall, this.#counter);
  }

  /** The newest reading handed out, or undefined before the first. */
  get last(): Hlc | undefined {
    return this.#counter === -1 ? undefined : formatHlc(this.#wall, this.#counter);
  }

  /** Milliseconds by which readings run ahead of the physical clock (after a jump back or a burst); 0 normally. */
  aheadMs(): number {
    return Math.max(0, this.#wall - Math.floor(this.#now()));
  }

  /**
   * Takes note of a remote reading, so that what is written next here sorts after what was seen. A reading too far
   * ahead of the physical clock is refused and moves nothing: a peer can push this clock by `maxSkewMs` at most.
   *
   * @param maxSkewMs how far ahead is still believable
   * @param pullMs how far ahead it may be to be followed; what is further ahead moves nothing
   * @throws FactError `hlc_ahead`
   */
  observe(remote: Hlc, maxSkewMs: number, pullMs = maxSkewMs): void {
    const wall = hlcWall(remote);
    const ahead = wall - Math.floor(this.#now());
    if (ahead > maxSkewMs) {
      throw new FactError(
        'hlc_ahead',
        `the statement's clock is ${ahead} ms ahead, the limit is ${maxSkewMs} ms`,
        "check the clocks of both machines; 'facts.max_skew_s' sets the limit",
        'hlc',
      );
    }
    if (ahead > pullMs) return;
    const counter = Number(remote.slice(14));
    if (wall > this.#wall || (wall === this.#wall && counter > this.#counter)) {
      this.#wall = wall;
      this.#counter = counter;
    }
  }
}
