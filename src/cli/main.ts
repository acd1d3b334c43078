import { run } from './program.ts';
import { systemWorld } from './world.ts';

const world = systemWorld();

// `stigmesh query | head` closes our output early: that is the reader's good right, not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

// Not process.exit: output to a pipe may still be on its way.
process.exitCode = await run(world, process.argv.slice(2));
