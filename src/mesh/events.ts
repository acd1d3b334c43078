import type { MeshEvent } from '../node/federation.ts';
import { MAX_EVENT_LISTENERS } from './data-limits.ts';
import { MeshError } from './errors.ts';
import type { MeshEventSink } from './types.ts';

/** What happens on the mesh, told to whoever listens at the moment. Nothing is kept: a slow listener keeps for itself. */
export class MeshEvents implements MeshEventSink {
  readonly #listeners = new Set<(event: MeshEvent) => void>();

  get listeners(): number {
    return this.#listeners.size;
  }

  /** @throws MeshError `too_many_listeners` */
  on(listener: (event: MeshEvent) => void): () => void {
    if (this.#listeners.size >= MAX_EVENT_LISTENERS) {
      throw new MeshError(
        'too_many_listeners',
        `${MAX_EVENT_LISTENERS} listeners follow the mesh already`,
        'close event streams that nobody reads',
      );
    }
    // A wrapper of its own for every call: the same function given twice is told twice, and ended one at a time.
    const entry = (event: MeshEvent): void => listener(event);
    this.#listeners.add(entry);
    return () => {
      this.#listeners.delete(entry);
    };
  }

  emit(event: MeshEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
