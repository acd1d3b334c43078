/**
 * A copy in memory of its own, for bytes that are kept for long. Node cuts small buffers from a common block of 64 KiB
 * (`Buffer.poolSize`), and all of it stays as long as one of them does.
 */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
