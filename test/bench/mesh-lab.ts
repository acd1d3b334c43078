import { createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type MeshDaemon, metricsOf, startMeshDaemon } from '../support/mesh-daemons.ts';
import { freePorts } from '../support/ports.ts';
import { Agent } from './agent.ts';
import { ms } from './measure.ts';
import type { ProbeReport } from './probe.ts';

/** One daemon under measurement: a process of its own with a probe in it. */
export interface BenchNode extends MeshDaemon {
  readonly agent: Agent;
  /** What happened in it since the last call. */
  probe(): Promise<ProbeReport>;
}

export interface BenchNodeOptions {
  readonly name: string;
  readonly org?: string;
  readonly home?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it has a probe in it. */
  readonly probed?: boolean;
}

/** Connections of the load to one daemon. */
const CONNECTIONS = 16;
/** For what measures the way and not the allowance of a peer. */
export const NO_QUOTA = { STIGMESH_MESH_PEER_STATEMENTS_PER_SECOND: '1000000' };

/** Daemons of one figure, which end with it. */
export class Lab {
  readonly directory = mkdtempSync(join(tmpdir(), 'stigmesh-bench-mesh-'));
  readonly #running = new Set<BenchNode>();
  readonly #ports = new Map<string, number>();
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  async start({ name, org = `${name}.example`, home, env, probed = true }: BenchNodeOptions): Promise<BenchNode> {
    const socket = join(this.directory, `${name}.sock`);
    const own = home ?? join(this.directory, name);
    mkdirSync(own, { recursive: true, mode: 0o700 });
    let port = this.#ports.get(name);
    if (port === undefined) {
      [port] = await freePorts(1);
      this.#ports.set(name, port!);
    }
    const daemon = await startMeshDaemon({
      ...{ name, org, home: own, port: port! },
      env: {
        ...(probed && {
          BENCH_PROBE: socket,
          NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${new URL('probe.ts', import.meta.url)}`,
        }),
        ...env,
      },
    });
    const agent = new Agent(daemon.url, CONNECTIONS, daemon.key);
    const node: BenchNode = { ...daemon, agent, probe: () => readProbe(socket) };
    this.#running.add(node);
    return node;
  }

  async stop(node: BenchNode): Promise<void> {
    node.agent.close();
    node.process.kill('SIGCONT');
    await node.stop();
    this.#running.delete(node);
  }

  /** Ends every daemon and removes what they left. */
  async close(): Promise<void> {
    await Promise.all([...this.#running].map((node) => this.stop(node)));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Fact number `n`, about an entity of its own, with a value of 20 to 200 characters. */
  fact({ org }: BenchNode, n: number, scope: string, of = 'w'): Record<string, unknown> {
    return {
      entity: `stigmem://${org}/memory/${of}${n}`,
      relation: 'memory:note',
      value: { type: 'string', v: `value ${n} ${'x'.repeat(Math.floor(this.#random() * 180))}` },
      source: `stigmem://${org}/agent/a${n % 97}`,
      confidence: 0.9,
      scope,
    };
  }

  /** Writes facts `from` to `to` in batches of 1 000, one after the other. */
  async fill(node: BenchNode, from: number, to: number, scope: string, of?: string): Promise<void> {
    for (let at = from; at < to; at += 1000) {
      const facts = Array.from({ length: Math.min(1000, to - at) }, (_, n) => this.fact(node, at + n, scope, of));
      const answer = (await node.agent.call('POST', '/v1/facts/batch', { facts, atomic: false })) as {
        rejected: number;
      };
      if (answer.rejected > 0) throw new Error(`${answer.rejected} facts were rejected`);
    }
  }
}

function readProbe(path: string): Promise<ProbeReport> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path);
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(JSON.parse(text) as ProbeReport));
  });
}

/** The longest block of the event loop, and the longest by its own work: neither collections nor time without a core. */
export function blockText({ blocks }: ProbeReport): string {
  const [worst] = blocks;
  if (!worst) return 'none over 3 ms';
  const own = blocks.reduce((most, { wall, cpu, gc }) => Math.max(most, Math.min(wall, cpu ?? wall) - gc), 0);
  const over = blocks.filter(({ wall }) => wall > 20).length;
  const cpu = worst.cpu === null ? 'unknown' : ms(worst.cpu);
  return `${ms(worst.wall)} (collections ${ms(worst.gc)}, CPU ${cpu}); own work at most ${ms(own)}; ${over} over 20 ms`;
}

/** Growth of one metric between two readings. */
export type Growth = (name: string) => number;

/** Reads the metrics of a daemon now, and how they grew each time it is asked. */
export async function growthOf(node: BenchNode): Promise<() => Promise<Growth>> {
  const before = await metricsOf(node);
  return async () => {
    const after = await metricsOf(node);
    return (name) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  };
}

/** Signing and checking Ed25519 over a statement's length, nothing else: µs each, on one thread and on the pool. */
export async function rawCrypto(count: number): Promise<{ sign: number; verify: number; pooled: number }> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = createPublicKey(privateKey);
  // What is signed is a domain and a digest.
  const messages = Array.from({ length: count }, () => randomBytes(53));
  const each = (begin: number): number => ((performance.now() - begin) * 1000) / count;
  let begin = performance.now();
  const signatures = messages.map((message) => sign(null, message, privateKey));
  const signing = each(begin);
  begin = performance.now();
  for (const [at, message] of messages.entries()) {
    if (!verify(null, message, publicKey, signatures[at]!)) throw new Error('a good signature is not taken');
  }
  const verifying = each(begin);
  const pooled = promisify(verify) as unknown as (...args: unknown[]) => Promise<boolean>;
  begin = performance.now();
  for (let at = 0; at < count; at += 64) {
    const slice = messages.slice(at, at + 64);
    await Promise.all(slice.map((message, i) => pooled(null, message, publicKey, signatures[at + i]!)));
  }
  return { sign: signing, verify: verifying, pooled: each(begin) };
}
