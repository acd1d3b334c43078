import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { loadConfig, resolvePaths } from './config/index.ts';
import type { FactScope } from './facts/index.ts';
import { type HomeOptions, initHome, type OpenHome, openHome } from './home.ts';
import type { MeshService } from './mesh/service.ts';
import type { ConflictRecord, FactView } from './node/types.ts';
import { openMesh } from './open-mesh.ts';
import { SYSTEM } from './policy/principal.ts';

export interface DemoOptions {
  /** Directory for temporary files; what the demo makes in it is removed at its end. */
  readonly tmpdir: string;
  readonly hostname: string;
  readonly version: string;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly uptime: () => number;
  readonly say: (line: string) => Promise<void>;
  /** Mark of something done. */
  readonly done: string;
  readonly signal: AbortSignal;
}

/** Longest wait for anything the demo waits for. On a busy machine a second is little. */
const PATIENCE_MS = 20_000;
/** How often it looks. */
const LOOK_MS = 5;
/** Facts that each side writes while the other is away. */
const WRITTEN_APART = 100;

/** One organisation of the demo: a daemon without its HTTP API. */
class Org {
  readonly name: string;
  readonly home: OpenHome;
  readonly #options: HomeOptions;
  mesh: MeshService;

  private constructor(name: string, options: HomeOptions, home: OpenHome) {
    this.name = name;
    this.home = home;
    this.#options = options;
    this.mesh = this.#newMesh();
  }

  static async found(name: string, directory: string, { hostname, version, now }: DemoOptions): Promise<Org> {
    const home = join(directory, name);
    await mkdir(home, { recursive: true, mode: 0o700 });
    const paths = resolvePaths({ env: {}, homedir: home, cwd: home, home, config: undefined });
    const flags = { 'org.authority': name, 'mesh.listen': '/ip4/127.0.0.1/tcp/0', 'mesh.dht': false };
    const loaded = await loadConfig({ paths, env: {}, hostname, flags });
    const options = { paths, loaded, env: {}, version, now, notice: () => {} };
    await initHome({ ...options, authority: name });
    const org = new Org(name, options, await openHome(options));
    await org.mesh.start();
    return org;
  }

  get label(): string {
    return this.name.split('.')[0]!.padEnd(5);
  }

  async say(fact: Told, scope: FactScope): Promise<FactView> {
    const [entity, relation, v] = fact;
    const { node } = this.home;
    const input = { entity, relation, value: { type: 'string', v }, source: 'agent:demo', confidence: 1, scope };
    return (await node.facts.assert(SYSTEM, input)).fact;
  }

  /** What it holds true about something, every value there is. */
  async knows([entity, relation]: Told | readonly [string, string]): Promise<readonly FactView[]> {
    const { facts } = await this.home.node.facts.query(SYSTEM, { entity, relation, limit: 50, include: ['losing'] });
    return facts;
  }

  async conflicts(): Promise<readonly ConflictRecord[]> {
    const { conflicts } = await this.home.node.conflicts.list(SYSTEM, { status: 'unresolved', limit: 50 });
    return conflicts;
  }

  async facts(): Promise<number> {
    return (await this.home.node.status()).facts;
  }

  async plugIn(): Promise<void> {
    this.mesh = this.#newMesh();
    await this.mesh.start();
  }

  async close(): Promise<void> {
    await this.mesh.stop();
    await this.home.close();
  }

  #newMesh(): MeshService {
    const log = pino({ level: 'silent' });
    return openMesh(this.home, { ...this.#options, log, metrics: new Registry() });
  }
}

/** Entity, relation, value. */
type Told = readonly [entity: string, relation: string, value: string];

/**
 * Three organisations, each with its own keys, store and network, play pairing, sharing, contradiction, partition and
 * healing over real sockets on loopback. Leaves nothing behind.
 *
 * @throws the first thing that does not go as it should; `signal.reason` when aborted
 */
export async function playDemo(options: DemoOptions): Promise<void> {
  const { say, uptime, tmpdir } = options;
  const began = uptime();
  const directory = await mkdtemp(join(tmpdir, 'stigmesh-demo-'));
  const orgs: Org[] = [];
  try {
    await say('Three organisations, each with a daemon of its own, in this process. Nothing of it stays.');
    for (const name of ['acme.example', 'bolt.example', 'cora.example']) {
      orgs.push(await Org.found(name, directory, options));
    }
    const [acme, bolt, cora] = orgs as [Org, Org, Org];
    const stage = new Stage(options);
    await stage.introduce(orgs);
    await stage.pairing(acme, bolt, cora);
    await stage.sharing(acme, bolt, cora);
    await stage.contradiction(acme, bolt);
    await stage.partition(acme, bolt);
  } finally {
    await Promise.allSettled(orgs.map((org) => org.close()));
    await rm(directory, { recursive: true, force: true });
  }
  await say(`\nPlayed in ${((uptime() - began) / 1000).toFixed(1)} s. Your own: npm start, then docs/federation.md`);
}

const LAUNCH: Told = ['project:apollo', 'roadmap:launch', '2027-03-01'];
const ROLE: Told = ['stigmem://acme.example/person/alice', 'memory:role', 'CEO'];

/** The acts of the play. */
class Stage {
  readonly #options: DemoOptions;
  #act = 0;

  constructor(options: DemoOptions) {
    this.#options = options;
  }

  async introduce(orgs: readonly Org[]): Promise<void> {
    await this.#title('Three daemons', 'own keys, own store, own addresses');
    for (const { name, home, mesh } of orgs) {
      const [addr = ''] = mesh.addrs();
      const { peerId, orgFingerprint } = home.identity;
      const where = addr.replace(/\/p2p\/.*/, '');
      await this.#did(`${name}  ${peerId.slice(0, 12)}…${peerId.slice(-4)}  fingerprint ${orgFingerprint}  ${where}`);
    }
  }

  async pairing(acme: Org, bolt: Org, cora: Org): Promise<void> {
    await this.#title('Pairing', 'one pasted string for each pair; it works once');
    await this.#pair(acme, bolt, ['public', 'company']);
    await this.#pair(acme, cora, ['public']);
  }

  async sharing(acme: Org, bolt: Org, cora: Org): Promise<void> {
    await this.#title('Sharing', 'what a fact is for decides where it goes');
    await this.#says(acme, ROLE, 'public');
    for (const org of [bolt, cora]) await this.#arrives(org, ROLE);
    await this.#says(acme, LAUNCH, 'company');
    await this.#arrives(bolt, LAUNCH);
    const seen = await cora.knows(LAUNCH);
    if (seen.length > 0) throw new Error('cora.example holds a fact it was not given');
    await this.#did(`${cora.label} does not: acme gives it public facts only, and bolt may not pass this one on`);
  }

  async contradiction(acme: Org, bolt: Org): Promise<void> {
    await this.#title('Contradiction', 'a record, never an overwrite');
    const other: Told = [LAUNCH[0], LAUNCH[1], '2027-06-15'];
    await this.#says(bolt, other, 'company');
    const [mine, theirs] = await Promise.all([acme, bolt].map((org) => this.#oneConflict(org)));
    if (mine!.id !== theirs!.id) throw new Error('both sides should derive the same conflict id');
    await this.#did(`${acme.label} and bolt list the same conflict, ${mine!.id}`);
    const winner = mine!.factA.statement.org === acme.name ? mine!.factA : mine!.factB;
    await acme.home.node.conflicts.resolve(SYSTEM, mine!.id, {
      winning_fact_id: winner.id,
      resolution_note: 'the board decided',
    });
    const shown = (await acme.knows(LAUNCH)).length;
    await this.#did(
      `${acme.label} resolves it for itself: ${winner.statement.body.value.v}; both of ${shown} sides kept`,
    );
    await this.#did(`${bolt.label} goes on to see a conflict: whom it believes is its own affair`);
  }

  async partition(acme: Org, bolt: Org): Promise<void> {
    await this.#title('Partition', 'bolt loses its network; both write on');
    await bolt.mesh.stop();
    const written = async (org: Org): Promise<void> => {
      const facts = Array.from({ length: WRITTEN_APART }, (_, at) => ({
        entity: `task:${org.label.trim()}-${at}`,
        ...{ relation: 'roadmap:state', value: { type: 'string', v: 'open' } },
        ...{ source: 'agent:demo', confidence: 1, scope: 'public' as const },
      }));
      await org.home.node.facts.assertBatch(SYSTEM, { facts, atomic: true });
    };
    await Promise.all([written(acme), written(bolt)]);
    const budget = ['project:apollo', 'roadmap:budget'] as const;
    await this.#says(acme, [...budget, '1.2 M'], 'company');
    await this.#says(bolt, [...budget, '0.9 M'], 'company');
    await this.#did(
      `${WRITTEN_APART} more facts on each side: acme holds ${await acme.facts()}, bolt ${await bolt.facts()}`,
    );

    // What bolt wrote by itself is what acme lacks.
    const all = (await acme.facts()) + WRITTEN_APART + 1;
    await this.#title('Healing', 'reconciliation finds what each side lacks');
    const before = this.#options.uptime();
    await bolt.plugIn();
    await this.#until('both sides to hold everything', async () => {
      const [ours, theirs] = await Promise.all([acme.facts(), bolt.facts()]);
      return ours === all && theirs === all ? true : undefined;
    });
    const took = Math.round(this.#options.uptime() - before);
    await this.#did(`both hold ${await acme.facts()} facts, ${took} ms after bolt came back`);
    const [mine, theirs] = await Promise.all([acme.knows(budget), bolt.knows(budget)]);
    if (mine.length !== 2 || theirs.length !== 2) throw new Error('both budgets should stand on both sides');
    await this.#did('both budgets stand on both sides, as a conflict: nothing was overwritten');
  }

  async #pair(inviter: Org, joiner: Org, gives: readonly FactScope[]): Promise<void> {
    const { invite } = await inviter.mesh.federation.createInvite(SYSTEM, {
      gives,
      takes: ['public', 'company'],
      expiresIn: 600,
    });
    await this.#line(inviter, `$ stigmesh invite --scopes ${gives.join(',')}`);
    await this.#line(joiner, `$ stigmesh join ${invite.slice(0, 30)}…`);
    await joiner.mesh.federation.join(SYSTEM, { invite, gives, takes: gives, allowPrivate: true });
    await this.#did(`${inviter.name} ⇄ ${joiner.name}  share ${gives.join(', ')}`);
  }

  async #says(org: Org, fact: Told, scope: FactScope): Promise<void> {
    const [entity, relation, value] = fact;
    await this.#line(org, `$ stigmesh assert ${entity} ${relation} '${value}' --scope ${scope}`);
    await org.say(fact, scope);
  }

  async #arrives(org: Org, fact: Told): Promise<void> {
    const began = this.#options.uptime();
    const [view] = await this.#until(`${fact[1]} to reach ${org.name}`, async () => {
      const known = await org.knows(fact);
      return known.length > 0 ? known : undefined;
    });
    const took = Math.max(1, Math.round(this.#options.uptime() - began));
    await this.#did(`${org.label} holds it within ${took} ms, signed by ${view!.statement.org}`);
  }

  async #oneConflict(org: Org): Promise<ConflictRecord> {
    return this.#until(`a conflict on ${org.name}`, async () => (await org.conflicts())[0]);
  }

  async #until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const { uptime, signal } = this.#options;
    for (const end = uptime() + PATIENCE_MS; uptime() < end; ) {
      signal.throwIfAborted();
      const found = await look();
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    throw new Error(`waited ${PATIENCE_MS / 1000} s for ${what}`);
  }

  async #title(title: string, what: string): Promise<void> {
    this.#options.signal.throwIfAborted();
    this.#act += 1;
    await this.#options.say(`\n${this.#act}. ${title}: ${what}`);
  }

  #line(org: Org, text: string): Promise<void> {
    return this.#options.say(`  ${org.label} ${text}`);
  }

  #did(text: string): Promise<void> {
    return this.#options.say(`${this.#options.done} ${text}`);
  }
}
