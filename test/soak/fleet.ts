import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  active,
  adopt,
  call,
  type Following,
  followCommits,
  type MeshDaemon,
  type PairTerms,
  pair,
  startMeshDaemon,
} from '../support/mesh-daemons.ts';
import { freePorts } from '../support/ports.ts';

/** One daemon of the soak test, over all its lives. */
export interface Member {
  readonly name: string;
  readonly org: string;
  readonly home: string;
  readonly port: number;
  /** How fast its clock runs; 1: as the machine's. */
  readonly clock: number;
  daemon: MeshDaemon | undefined;
  peerId: string;
  /** Whether requests to it are answered at the moment: up and not frozen. */
  isAwake: boolean;
  /** Ends of its life: by SIGTERM, by SIGKILL. */
  restarts: number;
  kills: number;
  following: Following | undefined;
}

const BOTH: PairTerms = { gives: ['public', 'company'], takes: ['public', 'company'] };
const PUBLIC: PairTerms = { gives: ['public'], takes: ['public'] };

/** Who is paired with whom, and what flows both ways; daemons of one organisation share everything but local. */
export const PAIRINGS: readonly (readonly [string, string, PairTerms])[] = [
  ['acme-1', 'bolt-1', BOTH],
  ['acme-2', 'bolt-2', PUBLIC],
  ['bolt-1', 'cove-1', { gives: ['public', 'company'], takes: ['public'] }],
];

const MEMBERS = [
  { name: 'acme-1', org: 'acme.example', clock: 1 },
  { name: 'acme-2', org: 'acme.example', clock: 1.01 },
  { name: 'bolt-1', org: 'bolt.example', clock: 1 },
  { name: 'bolt-2', org: 'bolt.example', clock: 0.99 },
  { name: 'cove-1', org: 'cove.example', clock: 1 },
] as const;

/** Five daemons of three organisations, as processes of their own. */
export class Fleet {
  readonly members: readonly Member[];
  readonly #from = Date.now();
  readonly #logLevel: string;
  readonly #onCommit: (member: Member, data: string, at: number) => void;

  private constructor(members: readonly Member[], onCommit: Fleet['onCommit'], logLevel: string) {
    this.#logLevel = logLevel;
    this.members = members;
    this.#onCommit = onCommit;
  }

  /** Told of every commit of every daemon. */
  get onCommit(): (member: Member, data: string, at: number) => void {
    return this.#onCommit;
  }

  static async open(directory: string, onCommit: Fleet['onCommit'], logLevel = 'info'): Promise<Fleet> {
    const ports = await freePorts(MEMBERS.length);
    const members = MEMBERS.map(({ name, org, clock }, at): Member => {
      const home = join(directory, name);
      rmSync(home, { recursive: true, force: true });
      mkdirSync(home, { recursive: true, mode: 0o700 });
      const life = { daemon: undefined, peerId: '', isAwake: false, restarts: 0, kills: 0, following: undefined };
      return { name, org, clock, home, port: ports[at]!, ...life };
    });
    const fleet = new Fleet(members, onCommit, logLevel);
    for (const member of members) await fleet.start(member);
    for (const org of new Set(members.map((member) => member.org))) {
      const [first, ...others] = members.filter((member) => member.org === org);
      for (const other of others) await adopt(first!.daemon!, other.daemon!);
    }
    for (const [inviter, joiner, terms] of PAIRINGS) {
      await pair(fleet.member(inviter).daemon!, fleet.member(joiner).daemon!, terms);
    }
    return fleet;
  }

  member(name: string): Member {
    const found = this.members.find((one) => one.name === name);
    if (!found) throw new Error(`no daemon ${name}`);
    return found;
  }

  async start(member: Member): Promise<void> {
    const { name, org, home, port, clock } = member;
    const drifting = clock === 1 ? {} : this.#clock(clock);
    const daemon = await startMeshDaemon({
      name,
      org,
      home,
      port,
      env: { ...drifting, STIGMESH_LOG_LEVEL: this.#logLevel },
    });
    member.daemon = daemon;
    member.peerId = daemon.peerId;
    member.isAwake = true;
    // What was committed while nobody followed is told now.
    const after = member.following?.position() ?? 0;
    member.following = await followCommits(daemon, (data, at) => this.#onCommit(member, data, at), after);
  }

  async stop(member: Member, how: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    const { daemon } = member;
    if (!daemon) return null;
    // Killed, it is killed in the middle of whatever it is asked to do.
    if (how === 'SIGTERM') member.isAwake = false;
    member.following?.stop();
    const [code] = how === 'SIGTERM' ? [await daemon.stop()] : [await daemon.kill().then(() => null)];
    const lines = daemon.logs.map((line) => `${JSON.stringify(line)}\n`);
    appendFileSync(`${member.home}.log`, lines.join(''));
    member.isAwake = false;
    member.daemon = undefined;
    if (how === 'SIGTERM') member.restarts += 1;
    else member.kills += 1;
    return code;
  }

  freeze(member: Member): void {
    member.isAwake = false;
    member.daemon?.process.kill('SIGSTOP');
  }

  thaw(member: Member): void {
    member.daemon?.process.kill('SIGCONT');
    member.isAwake = member.daemon !== undefined;
  }

  async suspend(member: Member, peer: Member, suspended: boolean): Promise<void> {
    await call(member.daemon!, 'PATCH', `/v1/federation/peers/${peer.peerId}`, { suspended });
  }

  /** Everybody awake, and connected with whom they are paired with. */
  async healed(): Promise<void> {
    for (const [one, other] of this.#links()) {
      await active(one.daemon!, other.daemon!);
      await active(other.daemon!, one.daemon!);
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      this.members.map(async (member) => {
        this.thaw(member);
        await this.stop(member, 'SIGTERM');
      }),
    );
  }

  #links(): [Member, Member][] {
    const links = PAIRINGS.map(([one, other]): [Member, Member] => [this.member(one), this.member(other)]);
    for (const [at, one] of this.members.entries()) {
      for (const other of this.members.slice(at + 1)) if (one.org === other.org) links.push([one, other]);
    }
    return links;
  }

  #clock(rate: number): Record<string, string> {
    return {
      SOAK_CLOCK_RATE: String(rate),
      SOAK_CLOCK_FROM: String(this.#from),
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${new URL('drift.ts', import.meta.url)}`,
    };
  }
}

/** What a process takes of the machine; null where the kernel does not say. */
export function footprint({ daemon }: Member): { rssMiB: number; ownMiB: number; descriptors: number } | null {
  const directory = `/proc/${daemon?.process.pid ?? 0}`;
  if (!existsSync(directory)) return null;
  try {
    const status = readFileSync(join(directory, 'status'), 'utf8');
    const mib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) / 1024;
    return { rssMiB: mib('VmRSS'), ownMiB: mib('RssAnon'), descriptors: readdirSync(join(directory, 'fd')).length };
  } catch {
    // It ended while it was looked at.
    return null;
  }
}
