import type { Random } from '../support/random.ts';
import type { Violations } from './check.ts';
import { type Fleet, type Member, PAIRINGS } from './fleet.ts';

/** A time in which something was wrong on purpose (`performance.now()`). */
export interface FaultWindow {
  readonly what: string;
  readonly from: number;
  to: number;
}

export interface FaultsInit {
  readonly random: Random;
  readonly violations: Violations;
  /** Longest a fault lasts, ms. */
  readonly longestMs: number;
  readonly onFault: (what: string) => void;
}

const SHORTEST_MS = 2_000;
/** A slow peer is awake for one part in five. */
const SLOW_AWAKE_MS = 100;
const SLOW_FROZEN_MS = 400;

const KINDS = ['sigterm', 'sigkill', 'freeze', 'suspend', 'slow'] as const;

/** Breaks one thing at a time, and mends it. */
export class Faults {
  readonly windows: FaultWindow[] = [];
  readonly counts = new Map<string, number>();
  readonly #fleet: Fleet;
  readonly #init: FaultsInit;
  /** Kinds still to come before any comes again: even the shortest run has each. */
  #kinds: (typeof KINDS)[number][] = [];

  constructor(fleet: Fleet, init: FaultsInit) {
    this.#fleet = fleet;
    this.#init = init;
  }

  /** Whether anything was wrong at any time between two moments, or in the time it takes to recover from it. */
  wasCalm(from: number, to: number, recoveryMs: number): boolean {
    return this.windows.every((window) => to < window.from || from > window.to + recoveryMs);
  }

  /** Breaks something, and returns when it is mended; the daemons may still be about to connect again. */
  async next(): Promise<void> {
    const { random, onFault, longestMs } = this.#init;
    if (this.#kinds.length === 0) this.#kinds = [...KINDS];
    const [kind] = this.#kinds.splice(random.below(this.#kinds.length), 1) as [(typeof KINDS)[number]];
    const member = random.pick(this.#fleet.members);
    const lasts = SHORTEST_MS + random.below(Math.max(1, longestMs - SHORTEST_MS));
    const window: FaultWindow = { what: kind, from: performance.now(), to: Number.POSITIVE_INFINITY };
    this.windows.push(window);
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    const seconds = `${(lasts / 1000).toFixed(0)} s`;
    if (kind === 'sigterm' || kind === 'sigkill') {
      onFault(`${kind} ${member.name}, down for ${seconds}`);
      await this.#restart(member, kind, lasts);
    } else if (kind === 'freeze') {
      onFault(`freeze ${member.name} for ${seconds}`);
      this.#fleet.freeze(member);
      await pause(lasts);
      this.#fleet.thaw(member);
    } else if (kind === 'slow') {
      onFault(`slow ${member.name} for ${seconds}`);
      await this.#slow(member, lasts);
    } else {
      const [one, other] = random.pick(PAIRINGS);
      onFault(`suspend ${one} and ${other} for ${seconds}`);
      await this.#suspend(this.#fleet.member(one), this.#fleet.member(other), lasts);
    }
    window.to = performance.now();
  }

  async #restart(member: Member, kind: 'sigterm' | 'sigkill', lasts: number): Promise<void> {
    const code = await this.#fleet.stop(member, kind === 'sigterm' ? 'SIGTERM' : 'SIGKILL');
    if (kind === 'sigterm' && code !== 0) {
      this.#init.violations.add('did not stop in order', `${member.name} ended with ${code}`);
    }
    await pause(lasts);
    await this.#fleet.start(member);
  }

  async #slow(member: Member, lasts: number): Promise<void> {
    for (let spent = 0; spent < lasts; spent += SLOW_AWAKE_MS + SLOW_FROZEN_MS) {
      member.daemon?.process.kill('SIGSTOP');
      await pause(SLOW_FROZEN_MS);
      member.daemon?.process.kill('SIGCONT');
      await pause(SLOW_AWAKE_MS);
    }
  }

  async #suspend(one: Member, other: Member, lasts: number): Promise<void> {
    await this.#fleet.suspend(one, other, true);
    await pause(lasts);
    await this.#fleet.suspend(one, other, false);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
