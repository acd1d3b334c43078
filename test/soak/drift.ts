/**
 * Loaded into a daemon of the soak test (`NODE_OPTIONS=--import=…`): its system clock runs at a rate of its own. The
 * daemon has no door for this; what is replaced is `Date`, as a machine with a bad clock would.
 */
const rate = Number(process.env.SOAK_CLOCK_RATE);
const from = Number(process.env.SOAK_CLOCK_FROM);
const real = Date.now.bind(Date);
const drifting = (): number => Math.floor(from + (real() - from) * rate);

class DriftingDate extends Date {
  constructor(...args: unknown[]) {
    super(...((args.length === 0 ? [drifting()] : args) as [number]));
  }

  static override now(): number {
    return drifting();
  }
}

if (Number.isFinite(rate) && Number.isFinite(from)) globalThis.Date = DriftingDate as DateConstructor;
