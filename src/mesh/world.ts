/** What the mesh takes from the machine. A simulation brings its own. */
export interface MeshWorld {
  /** Unix milliseconds. */
  now(): number;
  /** Uniform in [0, 1): jitter. */
  random(): number;
  randomBytes(count: number): Uint8Array;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}
