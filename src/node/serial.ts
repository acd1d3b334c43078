/**
 * Runs tasks one after the other. Local records decide over what is in memory, and memory follows the disk: a change
 * must be in memory before the next one is decided, which the writer's own order does not promise.
 */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => {});
    return result;
  }
}
