import { WATCHDOG_LONGEST_MS, WATCHDOG_MS } from '../limits.ts';
import { jittered } from '../timers.ts';
import type { MeshWorld } from '../world.ts';

/**
 * Gossipsub never opens a stream again that died on a live connection (too much was waiting for a slow peer): it goes on
 * as if the peer were there, and sends it nothing. So somebody looks, and introduces the peer anew; less and less often
 * when that does not help.
 */
export class GossipWatchdog {
  readonly #world: MeshWorld;
  readonly #members: () => readonly string[];
  readonly #isAlive: (peerId: string) => boolean;
  readonly #revive: (peerId: string) => void;
  /** Peers without a stream: when to try again, and how long to wait after that. */
  #dead = new Map<string, { readonly at: number; readonly pause: number }>();
  #timer: unknown = null;
  #revived = 0;

  constructor(components: {
    world: MeshWorld;
    /** Peers that should have a stream. */
    members: () => readonly string[];
    isAlive: (peerId: string) => boolean;
    revive: (peerId: string) => void;
  }) {
    this.#world = components.world;
    this.#members = components.members;
    this.#isAlive = components.isAlive;
    this.#revive = components.revive;
  }

  /** Attempts so far. */
  get revived(): number {
    return this.#revived;
  }

  start(): void {
    this.#timer = this.#world.setTimeout(
      () => {
        this.#look();
        this.start();
      },
      jittered(this.#world, WATCHDOG_MS),
    );
  }

  stop(): void {
    this.#world.clearTimeout(this.#timer);
  }

  #look(): void {
    const now = this.#world.now();
    const dead = new Map<string, { at: number; pause: number }>();
    for (const peerId of this.#members()) {
      if (this.#isAlive(peerId)) continue;
      const known = this.#dead.get(peerId);
      // A stream that is just being opened is not dead: the first look only notes it.
      if (!known) dead.set(peerId, { at: now, pause: WATCHDOG_MS });
      else if (known.at > now) dead.set(peerId, known);
      else {
        dead.set(peerId, { at: now + known.pause, pause: Math.min(known.pause * 2, WATCHDOG_LONGEST_MS) });
        this.#revived++;
        this.#revive(peerId);
      }
    }
    this.#dead = dead;
  }
}
