import type { WireStatement } from '../node/federation.ts';
import type { SetCommit } from '../node/mesh-services.ts';
import { wireSize } from './block.ts';
import { MAX_OUTBOX_BYTES, MAX_OUTBOX_STATEMENTS } from './data-limits.ts';

/** A commit on its way to peers. */
export interface Outgoing extends Pick<SetCommit, 'set' | 'digest' | 'receivedFrom'> {
  /** What was made here is sent whole. Of what came from others only the digest is, since peers may have it already. */
  readonly statement: WireStatement | null;
  /** Gossip carries it: peers that gossip reaches get nothing from here. */
  readonly gossiped: boolean;
}

/** What an entry takes in memory beside its statement, roughly. */
const ENTRY_BYTES = 150;

function sizeOf({ statement }: Outgoing): number {
  return ENTRY_BYTES + (statement ? wireSize(statement) : 0);
}

/** The same, with the bytes of all statements in one piece of memory that holds nothing else (as facts/bytes.ts). */
function* withOwnBytes(entries: readonly Outgoing[]): Generator<Outgoing> {
  let size = 0;
  for (const { statement } of entries) if (statement) size += statement.bytes.length + statement.sig.length;
  const all = Buffer.allocUnsafeSlow(size);
  let at = 0;
  const copied = (bytes: Uint8Array): Uint8Array => {
    all.set(bytes, at);
    at += bytes.length;
    return all.subarray(at - bytes.length, at);
  };
  for (const entry of entries) {
    const { statement } = entry;
    yield statement ? { ...entry, statement: { bytes: copied(statement.bytes), sig: copied(statement.sig) } } : entry;
  }
}

/** Wakes one waiter; a wake that nobody waited for is not lost. */
export class Wake {
  #isSet = false;
  #resolve: (() => void) | undefined;

  wake(): void {
    this.#isSet = true;
    this.#resolve?.();
  }

  async wait(): Promise<void> {
    if (!this.#isSet) {
      await new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
      this.#resolve = undefined;
    }
    this.#isSet = false;
  }
}

/**
 * The newest commits, for everybody who pushes: one ring for all peers. A peer has a position in it and no queue of its
 * own, so that slow peers cost nothing but their delay; one that falls off the end has a gap, which reconciliation closes.
 */
export class Outbox {
  readonly #maxBytes: number;
  readonly #maxStatements: number;
  #entries: Outgoing[] = [];
  /** Entries at the start of the array that were dropped already. */
  #dropped = 0;
  /** Position of the first entry of the array. */
  #base = 0;
  #bytes = 0;
  readonly #followers = new Set<Wake>();

  constructor(init: { readonly maxBytes?: number; readonly maxStatements?: number } = {}) {
    this.#maxBytes = init.maxBytes ?? MAX_OUTBOX_BYTES;
    this.#maxStatements = init.maxStatements ?? MAX_OUTBOX_STATEMENTS;
  }

  /** Position of the next entry. */
  get head(): number {
    return this.#base + this.#entries.length;
  }

  /** Position of the oldest entry that is still there. */
  get oldest(): number {
    return this.#base + this.#dropped;
  }

  get size(): number {
    return this.head - this.oldest;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The entry at a position; undefined when it is not there yet, or no longer. */
  at(position: number): Outgoing | undefined {
    return position < this.oldest ? undefined : this.#entries[position - this.#base];
  }

  append(entries: readonly Outgoing[]): void {
    for (const entry of withOwnBytes(entries)) {
      this.#entries.push(entry);
      this.#bytes += sizeOf(entry);
    }
    while (this.#bytes > this.#maxBytes || this.size > this.#maxStatements) {
      this.#bytes -= sizeOf(this.#entries[this.#dropped]!);
      this.#dropped += 1;
    }
    // What was dropped is let go of in pieces: moving the whole array for each would cost the square of its length.
    if (this.#dropped * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#dropped);
      this.#base += this.#dropped;
      this.#dropped = 0;
    }
    for (const wake of this.#followers) wake.wake();
  }

  /** Wakes a follower whenever something was appended. */
  follow(wake: Wake): () => void {
    this.#followers.add(wake);
    return () => this.#followers.delete(wake);
  }
}
