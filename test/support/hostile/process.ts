import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { PeerTerms } from '../../../src/policy/sharing.ts';
import { type RunningDaemon, startDaemon } from '../daemon.ts';
import { until } from '../until.ts';
import type { Target } from './rogue.ts';

type Json = Record<string, unknown>;

/** A real daemon in a process of its own, attacked over the network and asked over its API. */
export class DaemonUnderAttack implements Target {
  readonly name: string;
  readonly org: string;
  readonly peerId: string;
  readonly addrs: readonly string[];
  readonly #daemon: RunningDaemon;

  private constructor(name: string, daemon: RunningDaemon, status: { peer_id: string; addrs: string[] }) {
    this.name = name;
    this.org = orgOf(name);
    this.#daemon = daemon;
    this.peerId = status.peer_id;
    this.addrs = status.addrs;
  }

  static async start(name: string): Promise<DaemonUnderAttack> {
    const org = orgOf(name);
    const env = { STIGMESH_MESH_ENABLED: 'true', STIGMESH_ORG_AUTHORITY: org, STIGMESH_MESH_DHT: 'false' };
    const daemon = await startDaemon({ env });
    const status = await (await daemon.fetch('/v1/federation/status')).json();
    return new DaemonUnderAttack(name, daemon, status as { peer_id: string; addrs: string[] });
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
  }

  async call<T = Json>(method: string, path: string, json?: unknown): Promise<T> {
    const response = await this.#daemon.fetch(path, { method, ...(json === undefined ? {} : { json }) });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return (text === '' ? {} : JSON.parse(text)) as T;
  }

  /** Writes a fact. @returns its id */
  async say(v: string, scope: 'public' | 'company' | 'team' | 'local', more: Json = {}): Promise<string> {
    const about = { entity: `stigmem://${this.org}/note/${v}`, relation: 'memory:role', source: 'agent:test' };
    const fact = { ...about, value: { type: 'text', v }, scope, ...more };
    return (await this.call<{ id: string }>('POST', '/v1/facts', fact)).id;
  }

  /** Value of a metric; the sum over labels that are not named. */
  async metric(name: string, label = ''): Promise<number> {
    const text = await (await this.#daemon.fetch('/metrics')).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    const named = lines.filter((line) => line.includes(label));
    return named.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  async invite(terms: Partial<PeerTerms> = {}): Promise<string> {
    const { gives = ['public', 'company'], takes = ['public', 'company'], namespaces } = terms;
    const input = { gives, takes, ...(namespaces ? { namespaces } : {}) };
    const { invite } = await this.call<{ invite: string }>('POST', '/v1/federation/invites', input);
    return invite;
  }

  async isActive(peerId: string): Promise<boolean> {
    type Peers = { peers: { peer_id: string; state: string; connected: boolean }[] };
    const { peers } = await this.call<Peers>('GET', '/v1/federation/peers');
    return peers.some((peer) => peer.peer_id === peerId && peer.state === 'active' && peer.connected);
  }

  /** Refusals of what a peer sent, by code, and its reputation. */
  async peer(peerId: string): Promise<{ refused: Record<string, number>; score: number; connected: boolean }> {
    return this.call('GET', `/v1/federation/peers/${peerId}`);
  }

  async audited(type: string, peerId: string): Promise<Json[]> {
    const query = new URLSearchParams({ event_type: type, peer_id: peerId, limit: '500' });
    const { entries } = await this.call<{ entries: Json[] }>('GET', `/v1/federation/audit?${query}`);
    return entries;
  }

  /** Waits for a code in the audit log: of refused statements, or of a peer that was cut off. */
  async refuses(peerId: string, code: string, type = 'statement_refused'): Promise<void> {
    await until(
      async () => JSON.stringify(await this.audited(type, peerId)).includes(`"${code}"`),
      `${type} ${code}`,
    ).catch(async (error: Error) => {
      const entries = JSON.stringify(await this.audited(type, peerId));
      assert.fail(`${error.message}; audited: ${entries}; peer: ${JSON.stringify(await this.peer(peerId))}`);
    });
  }

  /** Highest resident memory so far, MiB. Linux only: elsewhere nothing is claimed. */
  peakMiB(): number {
    try {
      const status = readFileSync(`/proc/${this.#daemon.process.pid}/status`, 'utf8');
      return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
    } catch {
      return 0;
    }
  }
}

function orgOf(name: string): string {
  return `${name}.example`;
}
