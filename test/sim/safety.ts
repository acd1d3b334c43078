import { parseCid } from '../../src/facts/index.ts';
import { SYNC } from '../../src/mesh/sync-session.ts';
import { reindex } from '../../src/node/maintenance.ts';
import { fromJson } from '../../src/node/records.ts';
import type { Head } from '../../src/node/writer.ts';
import * as keys from '../../src/store/keys.ts';
import { decodeFrame, FRAME } from '../../src/sync/frames.ts';
import { digestOfKey, END_KEY, FIRST_KEY } from '../../src/sync/key.ts';
import type { Cluster } from './cluster.ts';
import type { SimDaemon } from './daemon.ts';
import { type Held, LogWatch } from './log-watch.ts';
import { mayEverHold, mayTake } from './oracle.ts';

/** What must hold at every moment does not. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(`${rule}: ${message}`);
    this.rule = rule;
  }
}

/**
 * How long something may be on its way and still count as sent in good faith, ms: latency, queues, a connection that is
 * not given up for 25 s, a peer that stands still for a minute.
 */
const UNDER_WAY_MS = 120_000;
/** From when a daemon looks at its own terms to when the commit is durable, ms. */
const COMMIT_MS = 1_000;

/** What an honest daemon never sends another one. Clocks, missing manifests and terms under change are no offence. */
const NEVER_BETWEEN_HONEST =
  /^(?:bad_signature|not_canonical|invalid_|text_too_large|statement_too_large|too_deep|lone_surrogate|reserved_entity|unknown_origin|malformed_frame|frame_too_large|protocol_violation|unrequested|sync_abuse|sync_false|key_revoked)/;

/** Names of sets that one daemon told another one in a reconciliation. */
interface Told {
  readonly from: SimDaemon;
  readonly to: SimDaemon;
  readonly names: readonly string[];
  readonly at: number;
}

interface Watched {
  readonly log: LogWatch;
  head: Pick<Head, 'seq' | 'auditSeq' | 'hlc'>;
  /** Newest clock reading it signed with. */
  signed: string;
  /** Virtual ms. */
  lookedAt: number;
  /** Digests (hex) whose writing was acknowledged. */
  readonly acknowledged: Set<string>;
}

export interface SafetyInit {
  /** Terms change while it runs: what was on its way then may be refused for its scope. */
  readonly termsChange?: boolean;
}

/** Checks, beside the daemons and by rules of its own, what must be so at every moment. */
export class Safety {
  readonly #cluster: Cluster;
  readonly #init: SafetyInit;
  readonly #watched = new Map<string, Watched>();
  readonly #told: Told[] = [];
  /** Statements looked at, daemons looked into, names of sets heard: that checks were made at all. */
  checked = 0;
  rebuilt = 0;
  named = 0;

  constructor(cluster: Cluster, init: SafetyInit = {}) {
    this.#cluster = cluster;
    this.#init = init;
    for (const daemon of cluster.honest) {
      this.#watched.set(daemon.name, {
        log: new LogWatch(daemon),
        head: { seq: 0, auditSeq: 0, hlc: null },
        signed: '',
        lookedAt: cluster.simulation.now,
        acknowledged: new Set(),
      });
    }
    cluster.network.onFrame = (from, to, protocol, frame) => {
      if (protocol !== SYNC.id || frame[0] !== FRAME.names) return;
      const [teller, told] = [cluster.byPeerId(from), cluster.byPeerId(to)];
      const said = decodeFrame(frame);
      if (!teller || !told || cluster.isLiar(teller.name) || said.type !== 'names') return;
      this.#told.push({ from: teller, to: told, names: said.names, at: cluster.simulation.now });
    };
  }

  /** What a daemon holds, as of the last look. */
  held(daemon: SimDaemon): ReadonlyMap<string, Held> {
    return this.#watched.get(daemon.name)!.log.held;
  }

  /** Somebody was told that these statements (CIDs) are written. */
  acknowledge(daemon: SimDaemon, ids: readonly string[]): void {
    const acknowledged = this.#watched.get(daemon.name)?.acknowledged;
    for (const id of ids) acknowledged?.add(Buffer.from(parseCid(id).digest).toString('hex'));
  }

  /** Looks at what every daemon holds by now. @throws Violation */
  async look(): Promise<void> {
    for (const [name, watched] of this.#watched) {
      const daemon = this.#cluster.daemon(name);
      let fresh: readonly Held[];
      try {
        fresh = await watched.log.look();
      } catch (error) {
        throw new Violation('logs hold what was signed, for good', (error as Error).message);
      }
      for (const held of fresh) this.#checkHeld(daemon, watched, held);
      await this.#checkHead(daemon, watched);
      watched.lookedAt = this.#cluster.simulation.now;
      if (daemon.isUp) this.#checkBlame(daemon);
    }
    for (const told of this.#told.splice(0)) this.#checkTold(told);
  }

  /** Whether everything acknowledged is still there. @throws Violation */
  async checkAcknowledged(): Promise<void> {
    for (const [name, { acknowledged }] of this.#watched) {
      const { contents } = this.#cluster.daemon(name).disk;
      const ids = [...acknowledged];
      const records = await contents.getMany(ids.map((id) => keys.logKey(Buffer.from(id, 'hex'))));
      const lost = ids.filter((_, at) => !records[at]);
      if (lost.length === 0) continue;
      throw new Violation('nothing acknowledged is lost', `${name} lost ${lost.length} of ${ids.length}: ${lost[0]}`);
    }
  }

  /** Whether the indexes of reconciliation are what the log says. The daemon must be up. @throws Violation */
  checkSets(daemon: SimDaemon): void {
    const { sets } = daemon.node;
    if (!sets.isReady) return;
    const expected = new Map<string, Set<string>>();
    for (const { id, set, said } of this.held(daemon).values()) {
      // What the operator imported of others' secrets is in no set of this name; the workload imports nothing.
      if (set === null || !mayEverHold(said, daemon)) continue;
      const ids = expected.get(set) ?? new Set();
      expected.set(set, ids.add(id));
    }
    for (const [name, ids] of expected) {
      const found = sets.get(name)?.index;
      const listed = found?.descending(FIRST_KEY, END_KEY, found.count).map((key) => hex(digestOfKey(key))) ?? [];
      const isSame = listed.length === ids.size && listed.every((id) => ids.has(id));
      if (!isSame) {
        const message = `${daemon.name} indexes ${listed.length} of ${ids.size} statements of ${name}`;
        throw new Violation('the sets are what the log says', message);
      }
    }
    if (sets.size !== expected.size) {
      const message = `${daemon.name} has ${sets.size} sets, its log ${expected.size}`;
      throw new Violation('the sets are what the log says', message);
    }
  }

  /** Whether a rebuild from the log changes any view. Works on a copy. @throws Violation */
  async checkViews(daemon: SimDaemon): Promise<void> {
    const copy = await daemon.disk.copy();
    const { simulation } = this.#cluster;
    const at = daemon.isUp ? daemon.life.world.now() : Math.floor(simulation.now);
    const still = {
      now: () => at,
      randomUUID: () => '00000000-0000-4000-8000-000000000000' as const,
      randomBytes: (count: number) => Buffer.alloc(count),
      setInterval: () => ({ timer: null, unref: () => undefined as never }),
      clearInterval: () => {},
    };
    this.rebuilt += 1;
    const { changed } = await reindex(copy, () => daemon.openNode(copy, still));
    if (changed) throw new Violation('views equal a rebuild', `those of ${daemon.name} do not`);
  }

  #checkHeld(daemon: SimDaemon, watched: Watched, { id, said, set, receivedFrom }: Held): void {
    const { ledger, simulation } = this.#cluster;
    this.checked += 1;
    const what = `${said.audience} ${said.kind} ${id.slice(0, 12)} of ${said.org}`;
    if (receivedFrom === null) {
      if (said.origin !== daemon.peerId) {
        throw new Violation('only its own', `${daemon.name} has ${what} as written here, of another origin`);
      }
      if (said.hlc <= watched.signed) {
        throw new Violation('clocks never go back', `${daemon.name} signed ${said.hlc} after ${watched.signed}`);
      }
      watched.signed = said.hlc;
      return;
    }
    const from = this.#cluster.byPeerId(receivedFrom);
    if (!from) throw new Violation('who may hold what', `${daemon.name} has ${what} of nobody: ${receivedFrom}`);
    const { now } = simulation;
    const terms = {
      ours: ledger.during(daemon.name, from.name, watched.lookedAt - COMMIT_MS, now),
      theirs: ledger.during(from.name, daemon.name, watched.lookedAt - UNDER_WAY_MS, now),
    };
    if (!mayTake(said, { from, to: daemon }, terms)) {
      const agreed = `takes ${JSON.stringify(terms.ours)}, given ${JSON.stringify(terms.theirs)}`;
      throw new Violation('who may hold what', `${daemon.name} took ${what} in ${set} from ${from.name}: ${agreed}`);
    }
  }

  /** Whether a daemon named a set to one that may hold nothing of it: what is not shared does not even have a name. */
  #checkTold({ from, to, names, at }: Told): void {
    const { ledger, simulation } = this.#cluster;
    const [ours, theirs] = [
      [to, from],
      [from, to],
    ].map(([owner, peer]) => ledger.during(owner!.name, peer!.name, at - UNDER_WAY_MS, simulation.now));
    for (const name of names) {
      const held = [...this.held(from).values()].find(({ set }) => set === name);
      if (!held) continue;
      this.named += 1;
      const there = mayTake(held.said, { from, to }, { ours: ours!, theirs: theirs! });
      if (there || mayTake(held.said, { from: to, to: from }, { ours: theirs!, theirs: ours! })) continue;
      throw new Violation('what is not shared has no name', `${from.name} named ${name} to ${to.name}`);
    }
  }

  async #checkHead(daemon: SimDaemon, watched: Watched): Promise<void> {
    const stored = await daemon.disk.contents.get(keys.metaKey('head'));
    if (!stored) return;
    const { seq, auditSeq, hlc } = fromJson<Head>(stored);
    const before = watched.head;
    if (seq < before.seq || auditSeq < before.auditSeq || (hlc ?? '') < (before.hlc ?? '')) {
      const message = `${daemon.name}: ${JSON.stringify({ seq, auditSeq, hlc })} after ${JSON.stringify(before)}`;
      throw new Violation('sequence and clock never go back', message);
    }
    watched.head = { seq, auditSeq, hlc };
  }

  /** Whether an honest daemon had to refuse what another honest one sent. */
  #checkBlame(daemon: SimDaemon): void {
    for (const peer of this.#cluster.honest) {
      if (peer === daemon) continue;
      for (const [code, count] of Object.entries(daemon.life.mesh.refused(peer.peerId))) {
        const isOffence = NEVER_BETWEEN_HONEST.test(code) || (code === 'scope_violation' && !this.#init.termsChange);
        if (!isOffence) continue;
        const message = `${daemon.name} had to refuse ${count} of ${peer.name}: ${code}`;
        throw new Violation('honest daemons have nothing to refuse', message);
      }
    }
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
