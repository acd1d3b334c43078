import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningDaemon, startDaemon } from './daemon.ts';
import { PATIENCE_MS } from './until.ts';

type Json = Record<string, unknown>;

/** One fact as a test needs it. */
export interface Said {
  readonly entity: string;
  readonly relation: string;
  readonly value: string;
  readonly scope: 'local' | 'team' | 'company' | 'public';
}

/** A real daemon with its mesh on, spoken to over HTTP by its operator's key. */
export class Member {
  readonly org: string;
  readonly daemon: RunningDaemon;
  readonly peerId: string;
  readonly fingerprint: string;

  private constructor(org: string, daemon: RunningDaemon, status: { peer_id: string; fingerprint: string }) {
    this.org = org;
    this.daemon = daemon;
    this.peerId = status.peer_id;
    this.fingerprint = status.fingerprint;
  }

  static async start(org: string, env: NodeJS.ProcessEnv = {}, home?: string): Promise<Member> {
    const daemon = await startDaemon({
      home: home ?? mkdtempSync(join(tmpdir(), 'stigmesh-member-')),
      env: { STIGMESH_MESH_ENABLED: 'true', STIGMESH_ORG_AUTHORITY: org, ...env },
    });
    const response = await daemon.fetch('/v1/status');
    return new Member(org, daemon, (await response.json()) as { peer_id: string; fingerprint: string });
  }

  async call<T = Json>(method: string, path: string, json?: unknown): Promise<T> {
    const response = await this.daemon.fetch(path, { method, ...(json === undefined ? {} : { json }) });
    const text = await response.text();
    assert.ok(response.ok, `${this.org} ${method} ${path}: ${response.status} ${text}`);
    return (text === '' ? {} : JSON.parse(text)) as T;
  }

  /** Pairs this one (inviter) with another; both give and take the scopes. */
  async pair(other: Member, scopes: readonly string[]): Promise<void> {
    const { invite } = await this.call<{ invite: string }>('POST', '/v1/federation/invites', { gives: scopes });
    await other.call('POST', '/v1/federation/join', { invite, gives: scopes, takes: scopes, allow_private: true });
  }

  async say({ entity, relation, value, scope }: Said): Promise<string> {
    const fact = { entity, relation, value: { type: 'string', v: value }, source: 'agent:test', scope };
    return (await this.call<{ id: string }>('POST', '/v1/facts', fact)).id;
  }

  /** Values of what it currently holds true, losing sides and all. */
  async values(entity: string, relation: string): Promise<string[]> {
    const query = new URLSearchParams({ entity, relation, include_contradicted: 'true' });
    const { facts } = await this.call<{ facts: { value: { v: string } }[] }>('GET', `/v1/facts?${query}`);
    return facts.map(({ value }) => value.v).sort();
  }

  async conflicts(status = 'unresolved'): Promise<string[]> {
    type Page = { conflicts: { conflict_id: string }[] };
    const { conflicts } = await this.call<Page>('GET', `/v1/conflicts?status=${status}`);
    return conflicts.map(({ conflict_id }) => conflict_id).sort();
  }

  /** Every statement in its log, by id. */
  async log(): Promise<Set<string>> {
    const response = await this.daemon.fetch('/v1/export');
    const lines = (await response.text()).split('\n').filter((line) => line !== '');
    return new Set(lines.map((line) => (JSON.parse(line) as { id: string }).id));
  }

  async activePeers(): Promise<string[]> {
    type Peers = { peers: { peer_id: string; state: string; connected: boolean }[] };
    const { peers } = await this.call<Peers>('GET', '/v1/federation/peers');
    return peers.filter(({ state, connected }) => state === 'active' && connected).map(({ peer_id }) => peer_id);
  }

  async stop(): Promise<void> {
    await this.daemon.stop();
  }

  async end(): Promise<void> {
    await this.daemon.stop().catch(() => {});
    rmSync(this.daemon.home, { recursive: true, force: true });
  }
}

/** Asks again and again until the answer is as expected; fails with the last answer. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T>,
  isExpected: (answer: T) => boolean,
): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (isExpected(answer)) return answer;
    if (performance.now() > end) assert.fail(`${what}: waited in vain; ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
