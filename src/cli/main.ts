import { run } from './program.ts';
import { systemWorld } from './world.ts';

const world = systemWorld();

// Not process.exit: output to a pipe may still be on its way.
process.exitCode = await run(world, process.argv.slice(2));
