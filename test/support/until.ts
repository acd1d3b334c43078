/**
 * Longest that a test waits for something to come about, ms. No statement about how fast anything is: only what never
 * comes takes so long, on however slow a machine.
 */
export const PATIENCE_MS = 60_000;

/** Waits for a condition on the machine's own clock. @throws Error when it does not hold in time */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  ms = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
