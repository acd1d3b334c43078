import { setImmediate as nextTurn } from 'node:timers/promises';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import { NOTED_FILTER_BYTES, NOTED_LOAD_SLICE } from './limits.ts';

/** Places of one digest in the filter: at a tenth as many targets as the filter has bits, one in 85 others is taken for one. */
const PLACES = 4;

/**
 * Which statements something was said about (superseded, given an expiry): a Bloom filter over the notes in the store, so
 * that what comes in from peers is looked up only where there may be anything to find. Almost always there is not, and
 * the look-up is the dearest part of admitting a fact.
 */
export class NotedTargets {
  readonly #store: Reader;
  readonly #bytes = new Uint8Array(NOTED_FILTER_BYTES);
  #isLoaded = false;
  #isStopped = false;
  #loading: Promise<void> | undefined;

  constructor(store: Reader) {
    this.#store = store;
  }

  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** To be called before the note is written. */
  add(target: Uint8Array): void {
    for (const bit of places(target)) this.#bytes[bit >> 3]! |= 1 << (bit & 7);
  }

  /** False: there is no note about it for certain. */
  mayHave(target: Uint8Array): boolean {
    if (!this.#isLoaded) return true;
    for (const bit of places(target)) if ((this.#bytes[bit >> 3]! & (1 << (bit & 7))) === 0) return false;
    return true;
  }

  /** Reads the notes of the store in slices. Until it is done, everything may have one. Never rejects. */
  load(): Promise<void> {
    if (this.#isLoaded || this.#isStopped) return Promise.resolve();
    this.#loading ??= this.#read().then(
      () => {
        this.#loading = undefined;
        this.#isLoaded = !this.#isStopped;
      },
      () => {
        // Without it everything works, only slower; tried again.
        this.#loading = undefined;
      },
    );
    return this.#loading;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#loading;
  }

  async #read(): Promise<void> {
    const visit = async (rows: readonly { readonly key: Uint8Array }[]): Promise<boolean> => {
      for (const { key } of rows) this.add(keys.noteTarget(key));
      await nextTurn();
      return !this.#isStopped;
    };
    await forEachSlice(this.#store, keys.allNotes(), visit, NOTED_LOAD_SLICE);
  }
}

/** Digests are as random as bits of a filter have to be. */
function* places(target: Uint8Array): Generator<number> {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  for (let n = 0; n < PLACES; n++) yield view.getUint32(n * 4) % (NOTED_FILTER_BYTES * 8);
}
