import { request } from 'node:http';
import { type RunningDaemon, startDaemon } from './daemon.ts';
import { until } from './until.ts';

/** Real daemons that take part in the mesh, paired as their operators would pair them, by the API that the CLI uses. */
export interface MeshDaemon extends RunningDaemon {
  readonly name: string;
  readonly org: string;
  readonly peerId: string;
}

export interface MeshDaemonOptions {
  readonly name: string;
  readonly org: string;
  readonly home: string;
  /** Of the mesh, on loopback. It has to stay the same over restarts, for others to find it again. */
  readonly port: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** What flows each way; what one gives and the other takes. */
export interface PairTerms {
  readonly gives: readonly string[];
  readonly takes: readonly string[];
}

const OPEN: PairTerms = { gives: ['public', 'company'], takes: ['public', 'company'] };
/** Longest until two daemons are active with each other, ms; on a machine that starts fifty of them. */
const ACTIVE_MS = 120_000;

export async function startMeshDaemon(options: MeshDaemonOptions): Promise<MeshDaemon> {
  const { name, org, home, port, env } = options;
  const daemon = await startDaemon({
    home,
    env: {
      STIGMESH_MESH_ENABLED: 'true',
      STIGMESH_MESH_LISTEN: `/ip4/127.0.0.1/tcp/${port}`,
      STIGMESH_MESH_DHT: 'false',
      STIGMESH_ORG_AUTHORITY: org,
      STIGMESH_API_RATE_LIMIT_READ: '10000000',
      STIGMESH_API_RATE_LIMIT_WRITE: '10000000',
      ...env,
    },
  });
  endWithUs(daemon);
  const { peer_id: peerId } = (await call(daemon, 'GET', '/v1/federation/status')) as { peer_id: string };
  return { ...daemon, name, org, peerId };
}

const running = new Set<RunningDaemon>();
let isGuarded = false;

/** No daemon outlives whoever started it, also when that is interrupted. A frozen one would stay for good. */
function endWithUs(daemon: RunningDaemon): void {
  if (!isGuarded) {
    isGuarded = true;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
    process.once('exit', () => {
      for (const one of running) one.process.kill('SIGKILL');
    });
  }
  running.add(daemon);
  daemon.process.once('exit', () => running.delete(daemon));
}

/** The answer, parsed. @throws Error for any status of 300 and above */
export async function call(daemon: RunningDaemon, method: string, path: string, json?: unknown): Promise<unknown> {
  const response = await daemon.fetch(path, { method, ...(json === undefined ? {} : { json }) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`);
  return text === '' ? null : JSON.parse(text);
}

/** One invites, the other joins. Resolves when both see each other as active. */
export async function pair(inviter: MeshDaemon, joiner: MeshDaemon, terms: PairTerms = OPEN): Promise<void> {
  const { invite } = (await call(inviter, 'POST', '/v1/federation/invites', terms)) as { invite: string };
  const { gives, takes } = terms;
  await call(joiner, 'POST', '/v1/federation/join', { invite, gives: takes, takes: gives, allow_private: true });
  await active(inviter, joiner);
  await active(joiner, inviter);
}

/** Makes `second` a further daemon of the organisation of `first`. */
export async function adopt(first: MeshDaemon, second: MeshDaemon): Promise<void> {
  await call(first, 'POST', '/v1/federation/org/nodes', { peer_id: second.peerId });
  await pair(first, second, { gives: ['team', 'company', 'public'], takes: ['team', 'company', 'public'] });
}

/** Resolves once `daemon` is connected to `peer` on terms that both declared. */
export async function active(daemon: MeshDaemon, peer: MeshDaemon): Promise<void> {
  await until(
    async () => {
      const response = await daemon.fetch(`/v1/federation/peers/${peer.peerId}`);
      if (!response.ok) return false;
      const { state, connected } = (await response.json()) as { state: string; connected: boolean };
      return state === 'active' && connected;
    },
    `${daemon.name} to be active with ${peer.name}`,
    ACTIVE_MS,
  );
}

/** Metrics by name with labels, as Prometheus reads them. */
export async function metricsOf(daemon: RunningDaemon): Promise<ReadonlyMap<string, number>> {
  const text = await (await daemon.fetch('/metrics')).text();
  const values = new Map<string, number>();
  for (const [, name, value] of text.matchAll(/^([a-z_]+(?:\{[^}]*\})?) (\S+)$/gm)) values.set(name!, Number(value));
  return values;
}

/** Statements in the log of a daemon, all of them durable. */
export async function statementsOf(daemon: RunningDaemon): Promise<number> {
  const count = (await metricsOf(daemon)).get('stigmesh_statements');
  if (count === undefined) throw new Error('the daemon does not count its statements');
  return count;
}

/** Commits of a daemon as they are told. */
export interface Following {
  /** Of the last commit that was told; 0 before the first. */
  position(): number;
  stop(): void;
}

/**
 * Follows the commits of a daemon.
 *
 * @param onCommit is told the data of each event, and the moment it was heard (`performance.now()`)
 * @param after begins with what was committed after this position; otherwise with the next commit
 */
export function followCommits(
  daemon: Pick<RunningDaemon, 'url' | 'key'>,
  onCommit: (data: string, at: number) => void,
  after?: number,
): Promise<Following> {
  let position = after ?? 0;
  return new Promise((resolve, reject) => {
    const stream = request(
      `${daemon.url}/v1/events?events=commits${after === undefined ? '' : `&after=${after}`}`,
      { headers: { authorization: `Bearer ${daemon.key}` } },
      (response) => {
        let rest = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          const at = performance.now();
          const lines = (rest + text).split('\n');
          rest = lines.pop()!;
          for (const line of lines) {
            if (line.startsWith('data: ')) onCommit(line.slice(6), at);
            else if (line.startsWith('id: ')) position = Number(line.slice(4));
          }
        });
        response.on('error', () => {});
        resolve({ position: () => position, stop: () => stream.destroy() });
      },
    );
    stream.on('error', reject);
    stream.end();
  });
}
