import { execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Ran, stigmesh } from './command.ts';
import { type RunningDaemon, startDaemon } from './daemon.ts';

/** Daemons in network namespaces of their own: their own addresses, links that can be cut (iproute2, Linux, root). */

const PREFIX = 'stigmesh-lab-';
/** A private network: nothing of it leaves the namespaces. */
const NETWORK = '10.77.0';
const MESH_PORT = 4701;
const STOP_MS = 20_000;

export interface LabNode {
  readonly name: string;
  readonly org: string;
  readonly address: string;
  readonly home: string;
  readonly daemon: RunningDaemon;
}

/** Why there can be no namespaces on this machine; null when there can. */
export function whyNoNamespaces(): string | null {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux';
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  const name = `${PREFIX}${process.pid}-try`;
  const tried = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (tried.error) return 'there is no ip (iproute2)';
  if (tried.status !== 0) return tried.stderr.trim();
  const link = ['link', 'add', 'try-near', 'type', 'veth', 'peer', 'name', 'try-far'];
  const inside = [['link', 'set', 'lo', 'up'], link, ['link', 'add', 'try-bridge', 'type', 'bridge']];
  const failed = inside.map((args) => spawnSync('ip', ['-n', name, ...args], { encoding: 'utf8' })).find(isFailed);
  const ran = spawnSync('ip', ['netns', 'exec', name, 'true'], { encoding: 'utf8' });
  spawnSync('ip', ['netns', 'del', name]);
  const why = failed ?? (ran.status === 0 ? undefined : ran);
  return why === undefined ? null : why.stderr.trim() || `ip ended with ${why.status}`;
}

const isFailed = ({ status }: { readonly status: number | null }): boolean => status !== 0;

/**
 * A switch of two bridges with a trunk between them, and daemons on either: `left` and `right`. All of it is in namespaces,
 * so it is gone with them.
 */
export class NetnsLab {
  readonly nodes: LabNode[] = [];
  readonly #id = `${PREFIX}${process.pid}-`;
  readonly #directory = mkdtempSync(join(tmpdir(), 'stigmesh-netns-'));
  readonly #namespaces: string[] = [];

  constructor() {
    removeStale();
    this.#add('switch');
    for (const side of ['left', 'right']) {
      this.#ip('switch', `link add ${side} type bridge`);
      this.#ip('switch', `link set ${side} up`);
    }
    this.#ip('switch', 'link add trunk-left type veth peer name trunk-right');
    for (const side of ['left', 'right']) {
      this.#ip('switch', `link set trunk-${side} master ${side}`);
      this.#ip('switch', `link set trunk-${side} up`);
    }
  }

  /** A daemon of an organisation of its own, at an address of its own. */
  async start(name: string, side: 'left' | 'right'): Promise<LabNode> {
    const address = `${NETWORK}.${this.nodes.length + 1}`;
    this.#add(name);
    this.#ip('switch', `link add ${name} type veth peer name eth0 netns ${this.#id}${name}`);
    this.#ip('switch', `link set ${name} master ${side}`);
    this.#ip('switch', `link set ${name} up`);
    this.#ip(name, `addr add ${address}/24 dev eth0`);
    this.#ip(name, 'link set lo up');
    this.#ip(name, 'link set eth0 up');
    const home = join(this.#directory, name);
    mkdirSync(home, { mode: 0o700 });
    const org = `${name}.example`;
    const daemon = await startDaemon({
      home,
      within: this.#within(name),
      env: {
        STIGMESH_MESH_ENABLED: 'true',
        STIGMESH_MESH_LISTEN: `/ip4/${address}/tcp/${MESH_PORT}`,
        STIGMESH_MESH_DHT: 'false',
        STIGMESH_ORG_AUTHORITY: org,
      },
    });
    const node = { name, org, address, home, daemon };
    this.nodes.push(node);
    return node;
  }

  /** Runs a command in the namespace and the home of a daemon. */
  run({ name, home }: LabNode, args: readonly string[], stdin = ''): Promise<Ran> {
    return stigmesh(home, args, stdin, this.#within(name));
  }

  /** Its stdout. @throws Error when it did not end well */
  async ok(node: LabNode, args: readonly string[], stdin?: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(node, args, stdin);
    if (code !== 0) throw new Error(`${node.name}: stigmesh ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
    return stdout;
  }

  /** Cuts or heals the link between the two bridges: a partition. */
  trunk(state: 'up' | 'down'): void {
    this.#ip('switch', `link set trunk-left ${state}`);
  }

  /** Cuts or heals the link of one daemon. */
  link({ name }: LabNode, state: 'up' | 'down'): void {
    this.#ip('switch', `link set ${name} ${state}`);
  }

  /**
   * Worsens what comes to and goes from a daemon.
   *
   * @returns why that cannot be had here; null when it holds
   */
  impair({ name }: LabNode, { qdisc, lossPercent }: Impairment): string | null {
    const netns = `${this.#id}${name}`;
    const shaped = spawnSync('tc', ['-n', netns, ...`qdisc replace dev eth0 root ${qdisc}`.split(' ')], RUN);
    if (shaped.status !== 0) return whyNot('tc', shaped);
    if (lossPercent === undefined) return null;
    const dropped = spawnSync('ip', ['netns', 'exec', netns, ...dropping('-A', lossPercent)], RUN);
    return dropped.status === 0 ? null : whyNot('iptables', dropped);
  }

  /** Packets that were dropped as they came. */
  dropped({ name }: LabNode): number {
    const args = ['netns', 'exec', `${this.#id}${name}`, 'iptables', '-nvxL', 'INPUT'];
    const rule = /^\s*(\d+)\s+\d+\s+DROP\b/m.exec(spawnSync('ip', args, RUN).stdout ?? '');
    return Number(rule?.[1] ?? 0);
  }

  unimpair({ name }: LabNode, { lossPercent }: Impairment): void {
    const netns = `${this.#id}${name}`;
    spawnSync('tc', ['-n', netns, 'qdisc', 'del', 'dev', 'eth0', 'root']);
    if (lossPercent !== undefined) spawnSync('ip', ['netns', 'exec', netns, ...dropping('-D', lossPercent)]);
  }

  /** Ends the daemons, and removes namespaces and homes, whatever happened before. */
  async close(): Promise<void> {
    await Promise.allSettled(
      this.nodes.map(async ({ daemon }) => {
        const timer = setTimeout(() => daemon.process.kill('SIGKILL'), STOP_MS);
        await daemon.stop();
        clearTimeout(timer);
      }),
    );
    this.abandon();
  }

  /** The same without waiting, for when this process is about to end. */
  abandon(): void {
    for (const { daemon } of this.nodes) {
      if (daemon.process.exitCode === null) daemon.process.kill('SIGKILL');
    }
    for (const name of this.#namespaces.splice(0)) spawnSync('ip', ['netns', 'del', name]);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #within(name: string): readonly string[] {
    return ['ip', 'netns', 'exec', `${this.#id}${name}`];
  }

  #add(name: string): void {
    ip(['netns', 'add', `${this.#id}${name}`]);
    this.#namespaces.push(`${this.#id}${name}`);
  }

  #ip(name: string, command: string): void {
    ip(['-n', `${this.#id}${name}`, ...command.split(' ')]);
  }
}

/** How a link is worsened. */
export interface Impairment {
  /** What delays, drops or slows what a daemon sends (tc). */
  readonly qdisc: string;
  /** Packets dropped as they come (iptables), where the qdisc cannot. */
  readonly lossPercent?: number;
}

const RUN = { encoding: 'utf8' } as const;

function dropping(how: '-A' | '-D', lossPercent: number): string[] {
  const probability = String(lossPercent / 100);
  const match = ['-i', 'eth0', '-m', 'statistic', '--mode', 'random', '--probability', probability];
  return ['iptables', how, 'INPUT', ...match, '-j', 'DROP'];
}

function whyNot(tool: string, { error, status, stderr }: SpawnSyncReturns<string>): string {
  if (error) return `there is no ${tool}`;
  return `${tool}: ${stderr.trim().split('\n')[0] || `ended with ${status}`}`;
}

function ip(args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Namespaces of a lab that was killed before it could clean up. */
function removeStale(): void {
  let names: string[] = [];
  try {
    names = readdirSync('/run/netns');
  } catch {
    // There never was one.
  }
  for (const name of names) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && Number(pid) !== process.pid && !isRunning(Number(pid))) {
      spawnSync('ip', ['netns', 'del', name]);
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
