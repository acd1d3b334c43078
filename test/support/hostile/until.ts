/** Waits for a condition, looked at a hundred times a second. @throws Error when it does not hold in time */
export async function until(condition: () => boolean | Promise<boolean>, what: string, maxMs = 5000): Promise<void> {
  const end = performance.now() + maxMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`after ${maxMs} ms, not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
