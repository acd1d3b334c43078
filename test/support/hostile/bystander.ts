import { until } from '../until.ts';
import type { DaemonUnderAttack } from './process.ts';
import type { Victim } from './victim.ts';

/** Writes facts at one daemon, one after the other, and sees that each gets to its peer. */
export function replicate(from: DaemonUnderAttack, to: Victim): { stop(): Promise<void> } {
  let isOver = false;
  let n = 0;
  const pass = async (scope: 'company' | 'public'): Promise<void> => {
    const id = await from.say(`steady-${performance.now()}-${n++}`, scope);
    await until(async () => (await to.get(id)) !== undefined, `a ${scope} fact at the bystander, the ${n}th`);
  };
  const run = (async () => {
    while (!isOver) {
      await pass(n % 2 === 0 ? 'company' : 'public');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  run.catch(() => {});
  return {
    /** Resolves once what was written after this, both by push and by gossip, is there. */
    stop: async () => {
      isOver = true;
      await run;
      await pass('company');
      await pass('public');
    },
  };
}
