import { parseArgs } from 'node:util';
import { latency, machine, seeded, Table } from './measure.ts';
import { bareEcho, bareGossip } from './mesh-baselines.ts';
import { rawCrypto } from './mesh-lab.ts';
import { latencyFigure } from './mesh-latency.ts';
import { matrixFigure } from './mesh-matrix.ts';
import { reconcileFigure } from './mesh-reconcile.ts';
import { frozenFigure, replicationFigure } from './mesh-replication.ts';

/**
 * Benchmarks of the mesh: real daemons as processes of their own over loopback, durable writes; beside them what libp2p,
 * gossipsub and Ed25519 do alone in the same run. `npm run bench:mesh -- --only latency --seed 1`
 */
const FIGURES = ['latency', 'replication', 'frozen', 'reconcile', 'matrix'] as const;
const { values: options } = parseArgs({
  options: {
    nodes: { type: 'string' },
    facts: { type: 'string' },
    only: { type: 'string', multiple: true },
    rate: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '20' },
    homes: { type: 'string' },
    seed: { type: 'string', default: '1' },
  },
});
const only = options.only ?? FIGURES;
for (const one of only) {
  if (!(FIGURES as readonly string[]).includes(one)) {
    console.error(`no figure ${one}: there are ${FIGURES.join(', ')}`);
    process.exit(2);
  }
}
const seed = Number(options.seed);
const random = seeded(seed);
const nodes = (usual: string): number[] => (options.nodes ?? usual).split(',').map(Number);
const facts = (usual: number): number => Number(options.facts ?? usual);

console.log(machine(seed));
const table = new Table();
table.header();
const BYTES = 600;
await bareEcho(500, BYTES);
const echo = await bareEcho(5000, BYTES);
const gossip = await bareGossip(2000, BYTES);
const crypto = await rawCrypto(5000);
const half = { ...echo, p50: echo.p50 / 2, p99: echo.p99 / 2, max: echo.max / 2 };
table.add('bare libp2p echo of 600 bytes, both ends in one process', 0, latency(echo));
table.add('bare gossipsub message of 600 bytes, both ends in one process', 0, latency(gossip));
const micros = (value: number): string => `${value.toFixed(1)} µs`;
table.add(
  'Ed25519 alone',
  5000,
  `sign ${micros(crypto.sign)}, verify ${micros(crypto.verify)}, verify in the thread pool ${micros(crypto.pooled)}`,
);

for (const figure of FIGURES) {
  if (!only.includes(figure)) continue;
  if (figure === 'latency') {
    for (const count of nodes('2,3,10')) {
      const bare = { public: gossip, company: half };
      const [seconds, perSecond] = [Number(options.seconds), Number(options.rate)];
      await latencyFigure({ random, table, nodes: count, seconds, perSecond, bare });
    }
  } else if (figure === 'replication') {
    await replicationFigure({ random, table, facts: facts(100_000), crypto });
  } else if (figure === 'frozen') {
    await frozenFigure({ random, table, facts: facts(40_000) });
  } else if (figure === 'reconcile') {
    await reconcileFigure({ random, table, facts: facts(1_000_000), homes: options.homes });
  } else {
    for (const count of nodes('2,5,10,25,50')) await matrixFigure({ random, table, nodes: count, facts: facts(1000) });
  }
}
