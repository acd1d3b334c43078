import { createHash, createPrivateKey, type Hash, type KeyObject } from 'node:crypto';
import type { MeshWorld } from '../../src/mesh/world.ts';
import { Random } from '../support/random.ts';
import { type Event, EventQueue } from './events.ts';
import { Settler } from './settle.ts';

export interface SimulationInit {
  readonly seed: number;
  /** Unix ms at which virtual time begins. */
  readonly start?: number;
  /** Whether work is under way that the simulation cannot see: real timers, sockets. */
  readonly busy?: () => boolean;
  /** Lines of the trace that are kept for people to read; all of them are hashed. */
  readonly keepTrace?: number;
  /** Told of every line of the trace. */
  readonly onTrace?: ((line: string) => void) | undefined;
}

const START = Date.UTC(2026, 10, 21, 12);
const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * Virtual time for many nodes in one process: one queue of events, one clock, all randomness from one seed. An event runs,
 * everything it set off comes to rest (promises, immediates, the thread pool), then the next. Events of one moment run in
 * the order of their actors' names, those of one actor in the order they were made: how fast the machine is, and which
 * job of the thread pool ended first, changes nothing. Same seed, same trace.
 */
export class Simulation {
  readonly seed: number;
  readonly #queue = new EventQueue();
  readonly #settler: Settler;
  readonly #hash: Hash = createHash('sha256');
  readonly #kept: string[] = [];
  readonly #keep: number;
  readonly #onTrace: (line: string) => void;
  readonly #worlds = new Map<string, SimWorld>();
  /** Lives that a name had before: a restarted daemon does not draw the same numbers again. */
  readonly #lives = new Map<string, number>();
  #now: number;
  #events = 0;
  #lastTraffic: number;

  constructor(init: SimulationInit) {
    this.seed = init.seed;
    this.#now = init.start ?? START;
    this.#lastTraffic = this.#now;
    this.#keep = init.keepTrace ?? 200;
    this.#onTrace = init.onTrace ?? (() => {});
    this.#settler = new Settler(init.busy);
  }

  /** Virtual Unix ms, with fractions. */
  get now(): number {
    return this.#now;
  }

  /** Hash over every event so far, how many there were, and the last lines. */
  get trace(): { readonly hash: string; readonly events: number; readonly lines: readonly string[] } {
    return { hash: this.#hash.copy().digest('hex'), events: this.#events, lines: this.#kept };
  }

  /** Randomness of its own for whatever has a name: drawing from one changes nothing for the others. */
  random(name: string): Random {
    return new Random(createHash('sha256').update(`${this.seed}/${name}`).digest().readUInt32BE(0));
  }

  /** The world of one node; the same name always has the same world until it is crashed. */
  world(name: string, options: { skewMs?: number } = {}): SimWorld {
    let world = this.#worlds.get(name);
    if (!world) {
      world = new SimWorld(this, { name, life: this.#lives.get(name) ?? 0, skewMs: options.skewMs ?? 0 });
      this.#worlds.set(name, world);
    }
    return world;
  }

  /** Ends a world: its timers never fire. The next one of the name is another. */
  end(name: string): void {
    this.#worlds.get(name)?.end();
    if (this.#worlds.delete(name)) this.#lives.set(name, (this.#lives.get(name) ?? 0) + 1);
  }

  /** An Ed25519 key that depends on the seed and the name alone. */
  key(name: string): KeyObject {
    const seed = createHash('sha256').update(`${this.seed}/key/${name}`).digest();
    return createPrivateKey({ key: Buffer.concat([ED25519_PKCS8, seed]), format: 'der', type: 'pkcs8' });
  }

  /** Puts an event into the queue. `traffic` is what {@link runUntilQuiet} waits for the end of. */
  schedule(actor: string, label: string, delayMs: number, run: () => void, traffic = false): Event {
    return this.#queue.add({ at: this.#now + Math.max(0, delayMs), actor, label, run, traffic });
  }

  /** Puts a line of its own into the trace: a fault, a result. */
  record(line: string): void {
    this.#trace(`${this.#now.toFixed(3)} ${line}`);
  }

  /** Runs everything up to a moment, which then is now. */
  async runUntil(time: number): Promise<void> {
    await this.#settler.settled();
    for (let next = this.#queue.peek(); next && next.at <= time; next = this.#queue.peek()) await this.#step();
    this.#now = Math.max(this.#now, time);
  }

  runFor(ms: number): Promise<void> {
    return this.runUntil(this.#now + ms);
  }

  /**
   * Runs until a condition holds, asked after every event.
   *
   * @throws Error when it does not hold after so much virtual time
   */
  async runUntilTrue(condition: () => boolean, maxMs: number, what = 'the condition'): Promise<void> {
    const end = this.#now + maxMs;
    await this.#settler.settled();
    while (!condition()) {
      const next = this.#queue.peek();
      if (!next || next.at > end) {
        throw new Error(
          `seed ${this.seed}: ${what} does not hold after ${maxMs} ms\n${this.#kept.slice(-20).join('\n')}`,
        );
      }
      await this.#step();
    }
  }

  /** Runs until nothing was on the network for `quietMs`; timers alone do not count. */
  async runUntilQuiet(options: { quietMs?: number; maxMs?: number } = {}): Promise<void> {
    const { quietMs = 5000, maxMs = 3_600_000 } = options;
    const end = this.#now + maxMs;
    this.#lastTraffic = this.#now;
    await this.#settler.settled();
    for (;;) {
      const next = this.#queue.peek();
      const quietAt = this.#lastTraffic + quietMs;
      if ((!next || next.at > quietAt) && this.#queue.traffic === 0) {
        this.#now = Math.max(this.#now, quietAt);
        return;
      }
      if (!next || next.at > end) throw new Error(`seed ${this.seed}: the network is not quiet after ${maxMs} ms`);
      await this.#step();
    }
  }

  /**
   * Runs until a promise is settled, and returns what became of it.
   *
   * @throws Error when it is not after so much virtual time
   */
  async run<T>(promise: Promise<T>, maxMs = 600_000): Promise<T> {
    let done = false;
    const settled = promise.finally(() => {
      done = true;
    });
    // Whoever awaits the result below sees the failure; until then nobody does.
    settled.catch(() => {});
    await this.runUntilTrue(() => done, maxMs, 'a promise');
    return settled;
  }

  /** Lets go of the process's hooks. Timers that are left never fire. */
  close(): void {
    for (const world of this.#worlds.values()) world.end();
    this.#settler.close();
  }

  async #step(): Promise<void> {
    const event = this.#queue.take()!;
    this.#now = Math.max(this.#now, event.at);
    if (event.traffic) this.#lastTraffic = this.#now;
    this.#trace(`${this.#now.toFixed(3)} ${event.actor} ${event.label}`);
    event.run();
    await this.#settler.settled();
  }

  #trace(line: string): void {
    this.#events++;
    this.#hash.update(line).update('\n');
    this.#onTrace(line);
    if (this.#keep === 0) return;
    this.#kept.push(line);
    if (this.#kept.length > this.#keep * 2) this.#kept.splice(0, this.#kept.length - this.#keep);
  }
}

/** What one node sees of the machine: virtual time, seeded randomness, timers that can be held or ended. */
export class SimWorld implements MeshWorld {
  readonly name: string;
  /** How far its clock is off, ms. */
  skewMs: number;
  /** By how much its clock is too fast, and from when on (virtual Unix ms). */
  drift = { rate: 0, since: 0 };
  readonly #simulation: Simulation;
  readonly #random: Random;
  readonly #timers = new Set<Event>();
  #frozen: (() => void)[] | null = null;
  #ended = false;

  constructor(simulation: Simulation, { name, life, skewMs }: { name: string; life: number; skewMs: number }) {
    this.#simulation = simulation;
    this.name = name;
    this.skewMs = skewMs;
    this.#random = simulation.random(life === 0 ? `world/${name}` : `world/${name}/${life}`);
  }

  readonly now = (): number => {
    const { now } = this.#simulation;
    return Math.floor(now + this.skewMs + this.drift.rate * (now - this.drift.since));
  };

  readonly random = (): number => this.#random.next();

  readonly randomBytes = (count: number): Buffer => {
    const bytes = Buffer.alloc(count);
    for (let at = 0; at < count; at++) bytes[at] = this.#random.below(256);
    return bytes;
  };

  /** A UUID (RFC 9562, version 4) for what takes `randomUUID`. */
  readonly randomUUID = (): `${string}-${string}-${string}-${string}-${string}` => {
    const bytes = this.randomBytes(16);
    bytes[6] = (bytes[6]! & 0x0f) | 0x40;
    bytes[8] = (bytes[8]! & 0x3f) | 0x80;
    const hex = bytes.toString('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  };

  readonly setTimeout = (run: () => void, ms: number): Event => {
    const timer = this.#simulation.schedule(this.name, 'timer', ms, () => {
      this.#timers.delete(timer);
      if (this.#ended) return;
      if (this.#frozen) this.#frozen.push(run);
      else run();
    });
    this.#timers.add(timer);
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => {
    if (!timer) return;
    (timer as Event).cancel();
    this.#timers.delete(timer as Event);
  };

  /** For what takes `setInterval` (the node's own upkeep). */
  readonly setInterval = (run: () => void, ms: number): Interval => {
    const interval: Interval = { timer: null, unref: () => interval };
    const next = (): void => {
      interval.timer = this.setTimeout(() => {
        next();
        run();
      }, ms);
    };
    next();
    return interval;
  };

  readonly clearInterval = (interval: unknown): void => {
    if (interval) this.clearTimeout((interval as Interval).timer);
  };

  /** The process is stopped (SIGSTOP, a suspended machine): what is due happens when it thaws. */
  freeze(): void {
    this.#frozen ??= [];
  }

  thaw(): void {
    const due = this.#frozen ?? [];
    this.#frozen = null;
    for (const run of due) this.#simulation.schedule(this.name, 'thawed timer', 0, run);
  }

  end(): void {
    this.#ended = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }
}

interface Interval {
  timer: Event | null;
  unref(): Interval;
}
