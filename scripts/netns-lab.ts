import { parseArgs } from 'node:util';
import { type Impairment, type LabNode, NetnsLab, whyNoNamespaces } from '../test/support/netns.ts';

/**
 * Daemons in network namespaces: pairs them by the command line, cuts links, writes on both sides, heals, and looks
 * whether all hold the same. Needs Linux, root and iproute2. `npm run netns-lab -- --nodes 4`
 *
 * Exit codes: 0 all converged, 1 something did not, 2 usage, 77 not possible on this machine (as automake has it).
 */
const { values: options } = parseArgs({
  options: {
    nodes: { type: 'string', default: '4' },
    facts: { type: 'string', default: '20' },
    /** Length of the short cut, seconds. */
    cut: { type: 'string', default: '6' },
    delay: { type: 'string', default: '40' },
    loss: { type: 'string', default: '2' },
    /** Of slow links, kbit/s: only where the kernel cannot delay. */
    rate: { type: 'string', default: '256' },
  },
});
const numbers = [options.nodes, options.facts, options.cut, options.delay, options.loss, options.rate].map(Number);
const [count, facts, cut, delay, loss, rate] = numbers as [number, number, number, number, number, number];
const MOST_NODES = 16;
const NOT_POSSIBLE = 77;
/** Longest until cut daemons notice (they ping every 10 s and wait 10 s), and until all hold the same after a cut, ms. */
const NOTICE_MS = 60_000;
const CONVERGE_MS = 180_000;

const isUsable = numbers.every((value) => Number.isFinite(value) && value >= 0) && loss <= 100;
if (!isUsable || count < 2 || count > MOST_NODES || facts < 1 || rate < 1) {
  console.error(
    `--nodes is 2 to ${MOST_NODES}; --facts, --cut (seconds), --delay (ms), --loss (percent) and --rate (kbit/s) are numbers`,
  );
  process.exit(2);
}
const why = whyNoNamespaces();
if (why !== null) {
  console.log(`not run: ${why}`);
  process.exit(NOT_POSSIBLE);
}

const lab = new NetnsLab();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    lab.abandon();
    process.exit(1);
  });
}
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
/** Entities of the facts that everybody must hold by now. */
const written: string[] = [];
let round = 0;
let failed = false;

try {
  const nodes = await build();
  await step('everybody has what everybody wrote', async () => {
    await writeOn(nodes);
    return `after ${seconds(await converged(nodes))}`;
  });
  await worsened(nodes);
  const [left, right] = [nodes.filter((_, n) => n % 2 === 0), nodes.filter((_, n) => n % 2 === 1)];
  await step(`partition of ${cut} s, both sides write, heal`, async () => {
    lab.trunk('down');
    const marks = await writeOn(nodes);
    await pause(cut * 1000);
    await apart(left, right, marks);
    lab.trunk('up');
    return `converged after ${seconds(await converged(nodes))}`;
  });
  await step('partition until both sides notice, both write, heal', async () => {
    lab.trunk('down');
    const noticed = await disconnected(left[0]!, right);
    const marks = await writeOn(nodes);
    await apart(left, right, marks);
    lab.trunk('up');
    return `noticed after ${seconds(noticed)}, converged after ${seconds(await converged(nodes))}`;
  });
  const last = nodes.at(-1)!;
  await step(`${last.name} alone, all write, heal`, async () => {
    lab.link(last, 'down');
    const marks = await writeOn(nodes);
    await pause(cut * 1000);
    await apart([last], nodes.slice(0, -1), marks);
    lab.link(last, 'up');
    return `converged after ${seconds(await converged(nodes))}`;
  });
  await step('nobody holds what is local to another', async () => `${await localStays(nodes)} looked at`);
} catch (error) {
  failed = true;
  console.log(`✗ ${error instanceof Error ? error.message : String(error)}`);
} finally {
  await lab.close();
}
console.log(failed ? 'failed' : `passed: ${nodesText(count)}, ${written.length} facts, everywhere`);
process.exit(failed ? 1 : 0);

async function build(): Promise<LabNode[]> {
  const nodes: LabNode[] = [];
  await step(`${nodesText(count)} in namespaces of their own`, async () => {
    for (let n = 0; n < count; n++) nodes.push(await lab.start(`n${n}`, n % 2 === 0 ? 'left' : 'right'));
    return nodes.map(({ name, address }) => `${name} ${address}`).join(', ');
  });
  await step('each paired with each', async () => {
    let pairs = 0;
    for (const [n, inviter] of nodes.entries()) {
      for (const joiner of nodes.slice(n + 1)) {
        const invite = await lab.ok(inviter, ['invite', '--scopes', 'public,company', '-q']);
        const terms = ['--gives', 'public,company', '--takes', 'public,company'];
        await lab.ok(joiner, ['join', '-', '--yes', '--allow-private', ...terms], invite);
        pairs += 1;
      }
    }
    return `${pairs} pairs`;
  });
  return nodes;
}

/** Links that delay and lose what they carry; where the kernel cannot delay, slow ones that lose. */
async function worsened(nodes: readonly LabNode[]): Promise<void> {
  const netem = { qdisc: `netem delay ${delay}ms ${Math.ceil(delay / 4)}ms loss ${loss}%` };
  if (await impaired(nodes, `delay of ${delay} ms and loss of ${loss} % on every link`, netem)) return;
  const slow = { qdisc: `tbf rate ${rate}kbit burst 4kb latency 400ms`, lossPercent: loss };
  await impaired(nodes, `${rate} kbit/s and loss of ${loss} % on every link`, slow);
}

/** @returns false when this machine cannot worsen links so */
async function impaired(nodes: readonly LabNode[], what: string, impairment: Impairment): Promise<boolean> {
  try {
    const refusal = nodes.map((node) => lab.impair(node, impairment)).find((one) => one !== null);
    if (refusal != null) {
      console.log(`- not run: ${what}: ${refusal}`);
      return false;
    }
    await step(what, async () => {
      await writeOn(nodes);
      const after = seconds(await converged(nodes));
      const dropped = nodes.reduce((sum, node) => sum + lab.dropped(node), 0);
      return `converged after ${after}${impairment.lossPercent === undefined ? '' : `, ${dropped} packets lost`}`;
    });
    return true;
  } finally {
    for (const node of nodes) lab.unimpair(node, impairment);
  }
}

/** Company facts and one local fact on every daemon. @returns the entities of the shared ones, by daemon */
async function writeOn(nodes: readonly LabNode[]): Promise<ReadonlyMap<LabNode, string[]>> {
  round += 1;
  const marks = new Map<LabNode, string[]>();
  for (const node of nodes) {
    const { org, name } = node;
    const shared = Array.from({ length: facts }, (_, n) => `stigmem://${org}/lab/r${round}-${n}`);
    const line = (entity: string, scope: string): string =>
      JSON.stringify({ entity, relation: 'memory:note', value: `${name} ${entity}`, scope });
    const lines = shared.map((entity, n) => line(entity, n % 2 === 0 ? 'public' : 'company'));
    await lab.ok(
      node,
      ['assert', '--stdin'],
      [...lines, line(`stigmem://${org}/lab/own-r${round}`, 'local')].join('\n'),
    );
    marks.set(node, shared);
    written.push(...shared);
  }
  return marks;
}

/** Entities a daemon holds facts about. */
async function held(
  node: LabNode,
): Promise<{ readonly shared: Set<string>; readonly ids: Set<string>; local: string[] }> {
  const lines = (await lab.ok(node, ['export'])).split('\n').filter((line) => line !== '');
  const all = lines.map((line) => JSON.parse(line) as { id: string; statement: Record<string, unknown> });
  const found = all.filter(({ statement }) => statement.kind === 'fact');
  const entityOf = ({ statement }: (typeof found)[number]): string => (statement.body as { entity: string }).entity;
  const isLocal = ({ statement }: (typeof found)[number]): boolean => statement.audience === 'local';
  const shared = found.filter((one) => !isLocal(one));
  return {
    shared: new Set(shared.map(entityOf)),
    ids: new Set(shared.map(({ id }) => id)),
    local: found.filter(isLocal).map(entityOf),
  };
}

/** @returns how long it took until every daemon held every fact, and the same statements, ms */
async function converged(nodes: readonly LabNode[]): Promise<number> {
  const from = performance.now();
  for (;;) {
    const all = await Promise.all(nodes.map(held));
    const lacks = all.map(({ shared }) => written.filter((entity) => !shared.has(entity)).length);
    if (lacks.every((lack) => lack === 0)) {
      const [first, ...others] = all;
      const isSame = others.every(
        ({ ids }) => ids.size === first!.ids.size && [...ids].every((id) => first!.ids.has(id)),
      );
      if (isSame) return performance.now() - from;
    }
    if (performance.now() - from > CONVERGE_MS) {
      const text = nodes.map(({ name }, n) => `${name} lacks ${lacks[n]}`).join(', ');
      throw new Error(`not converged in ${seconds(CONVERGE_MS)}: ${text}`);
    }
    await pause(500);
  }
}

/** That a cut is one: nobody has what was written beyond it. */
async function apart(
  one: readonly LabNode[],
  other: readonly LabNode[],
  marks: ReadonlyMap<LabNode, string[]>,
): Promise<void> {
  for (const [here, there] of [
    [one, other],
    [other, one],
  ] as const) {
    for (const node of here) {
      const { shared } = await held(node);
      const leaked = there.flatMap((far) => marks.get(far)!).filter((entity) => shared.has(entity));
      if (leaked.length > 0) throw new Error(`${node.name} has ${leaked[0]}, which was written beyond the cut`);
    }
  }
}

async function disconnected(node: LabNode, peers: readonly LabNode[]): Promise<number> {
  const from = performance.now();
  for (;;) {
    const { peers: known } = JSON.parse(await lab.ok(node, ['peers', '--json'])) as {
      peers: { org: string; connected: boolean }[];
    };
    const isCut = peers.every(({ org }) => known.some((peer) => peer.org === org && !peer.connected));
    if (isCut) return performance.now() - from;
    if (performance.now() - from > NOTICE_MS) throw new Error(`${node.name} did not notice the cut`);
    await pause(500);
  }
}

async function localStays(nodes: readonly LabNode[]): Promise<number> {
  let looked = 0;
  for (const node of nodes) {
    const { local } = await held(node);
    const foreign = local.find((entity) => !entity.startsWith(`stigmem://${node.org}/`));
    if (foreign !== undefined) throw new Error(`${node.name} holds ${foreign}, which is local to another`);
    if (local.length !== round) throw new Error(`${node.name} holds ${local.length} local facts of ${round}`);
    looked += local.length;
  }
  return looked;
}

async function step(what: string, run: () => Promise<string>): Promise<void> {
  const result = await run().catch((error: unknown) => {
    throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  });
  console.log(`✓ ${what}: ${result}`);
}

function nodesText(n: number): string {
  return `${n} daemons`;
}
