import type { MeshWorld } from './world.ts';

/** Waits; ends early when the signal aborts. Never rejects: whoever waits looks at its signal. */
export function delay(world: MeshWorld, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      world.clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = world.setTimeout(end, ms);
    signal?.addEventListener('abort', end, { once: true });
  });
}

/** Milliseconds that never go back and never jump, from a wall clock that may be set. */
export function elapsedClock(now: () => number): () => number {
  let last = now();
  let elapsed = 0;
  return () => {
    const at = now();
    elapsed += Math.max(0, at - last);
    last = at;
    return elapsed;
  };
}

/** A duration with up to a quarter more or less, so that peers that started together do not stay in step. */
export function jittered(world: MeshWorld, ms: number): number {
  return ms * (0.75 + world.random() / 2);
}
