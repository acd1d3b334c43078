import { createHash } from 'node:crypto';
import { CONFLICT_PREFIX, statementId } from '../../src/facts/index.ts';
import { ANONYMOUS } from '../../src/policy/principal.ts';
import type { PeerTerms } from '../../src/policy/sharing.ts';
import type { Cluster } from './cluster.ts';
import type { SimDaemon } from './daemon.ts';
import type { Held } from './log-watch.ts';
import { audienceOf, mayTake } from './oracle.ts';
import { type Safety, Violation } from './safety.ts';

/** What one daemon lacks of what another one has to give it. */
export interface Gap {
  readonly from: string;
  readonly to: string;
  readonly missing: readonly Held[];
}

/** Whether one need not take a statement from another one although it may. */
export type Excuse = (held: Held, from: SimDaemon, to: SimDaemon) => boolean;

/**
 * Checks what must come to be once faults have ended: whoever is paired holds the same of what both may hold, and whoever
 * holds the same sees the same.
 */
export class Convergence {
  readonly #cluster: Cluster;
  readonly #safety: Safety;
  readonly #excused: Excuse;

  constructor(cluster: Cluster, safety: Safety, excused: Excuse = () => false) {
    this.#cluster = cluster;
    this.#safety = safety;
    this.#excused = excused;
  }

  /**
   * Runs on until nobody lacks anything, looking again and again.
   *
   * @param maxMs virtual time it may take
   * @returns virtual ms it took
   * @throws Violation when it takes longer
   */
  async wait(maxMs: number): Promise<number> {
    const { simulation } = this.#cluster;
    const from = simulation.now;
    for (let pause = 1_000; ; pause = Math.min(30_000, pause * 1.5)) {
      await this.#safety.look();
      const gaps = this.gaps();
      if (gaps.length === 0) return simulation.now - from;
      if (simulation.now - from >= maxMs) {
        throw new Violation('all converge', `after ${maxMs} ms ${gaps.map((gap) => this.#describe(gap)).join('; ')}`);
      }
      await simulation.runFor(Math.min(pause, maxMs));
    }
  }

  gaps(): Gap[] {
    const gaps: Gap[] = [];
    for (const from of this.#cluster.honest) {
      for (const to of this.#cluster.honest) {
        if (!from.isUp || !to.isUp || !this.#cluster.areRelated(from, to)) continue;
        const missing = this.#missing(from, to);
        if (missing.length > 0) gaps.push({ from: from.name, to: to.name, missing });
      }
    }
    return gaps;
  }

  /**
   * Compares what honest daemons show of every key on which they hold the same statements, of organisations that all of
   * them believe. @returns how many keys were compared @throws Violation
   */
  async checkViews(): Promise<number> {
    const views = new Map<SimDaemon, Map<string, string>>();
    let compared = 0;
    for (const daemon of this.#cluster.honest) {
      if (!daemon.isUp) continue;
      await this.#cluster.simulation.run(daemon.node.settled());
      views.set(daemon, await this.#viewOf(daemon));
    }
    const first = new Map<string, { readonly of: string; readonly shown: string }>();
    for (const [daemon, view] of views) {
      for (const [key, shown] of view) {
        const known = first.get(key);
        if (!known) first.set(key, { of: daemon.name, shown });
        else if (known.shown !== shown) {
          const message = `${daemon.name} and ${known.of} hold the same of ${key}\n${shown}\n${known.shown}`;
          throw new Violation('equal statements make equal views', message);
        } else compared += 1;
      }
    }
    return compared;
  }

  #missing(from: SimDaemon, to: SimDaemon): Held[] {
    const has = this.#safety.held(to);
    return [...this.#safety.held(from).values()].filter(
      (held) =>
        held.set !== null && !has.has(held.id) && this.#mustReach(held, from, to) && !this.#excused(held, from, to),
    );
  }

  /** Whether a statement has to come from one to the other: as {@link mayTake}, and of third parties both ways. */
  #mustReach({ said }: Held, from: SimDaemon, to: SimDaemon): boolean {
    const { ledger } = this.#cluster;
    const nothing: PeerTerms = { gives: [], takes: [], namespaces: null };
    const ours = [ledger.current(to.name, from.name) ?? nothing];
    const theirs = [ledger.current(from.name, to.name) ?? nothing];
    if (!mayTake(said, { from, to }, { ours, theirs })) return false;
    if (from.org === to.org || said.org === from.org || said.org === to.org) return true;
    return mayTake(said, { from: to, to: from }, { ours: theirs, theirs: ours });
  }

  #describe({ from, to, missing }: Gap): string {
    const [first] = missing;
    const what = `${first!.set}, ${first!.said.hlc}, ${first!.id.slice(0, 12)}`;
    const { mesh, peering } = this.#cluster.daemon(to).life;
    const { peerId } = this.#cluster.daemon(from);
    const state = peering.admits(peerId) ? JSON.stringify(mesh.lastSync(peerId)) : 'not connected';
    return `${to} lacks ${missing.length} of ${from} (${what}; refused ${JSON.stringify(mesh.refused(peerId))}; ${state})`;
  }

  /** What a daemon shows, by key; the name of a key has in it what is held on it, so that only equals are compared. */
  async #viewOf(daemon: SimDaemon): Promise<Map<string, string>> {
    const { node } = daemon;
    const facts = new Map<string, string>();
    for (let cursor: string | undefined; ; ) {
      const include = ['history', 'retracted', 'superseded', 'expired', 'losing', 'quarantined'] as const;
      const page = await node.facts.query(ANONYMOUS, { include, limit: 500, cursor });
      for (const { id, state, contradicted, overruled, validUntil } of page.facts) {
        facts.set(id, JSON.stringify({ id, state, contradicted, overruled, validUntil }));
      }
      if (page.cursor === null) break;
      cursor = page.cursor;
    }
    const conflicts = new Map<string, string[]>();
    for (const status of ['unresolved', 'resolved'] as const) {
      for (let cursor: string | undefined; ; ) {
        const page = await node.conflicts.list(ANONYMOUS, { status, limit: 500, cursor });
        for (const { id, factA, factB, resolvedBy, resolutions } of page.conflicts) {
          if (!id.startsWith(CONFLICT_PREFIX)) throw new Violation('conflicts have ids', id);
          const key = keyName(factA.statement);
          const shown = JSON.stringify({ id, status, resolvedBy, resolutions, sides: [factA.id, factB.id] });
          conflicts.set(key, [...(conflicts.get(key) ?? []), shown]);
        }
        if (page.cursor === null) break;
        cursor = page.cursor;
      }
    }
    const byKey = new Map<string, Held[]>();
    /** What was said about how long others hold, by whom it is about. */
    const lives = new Map<string, string[]>();
    for (const held of this.#safety.held(daemon).values()) {
      if (held.said.kind !== 'fact' && held.said.kind !== 'resolution') continue;
      if (held.said.body.relation === 'stigmem:ttl') {
        const about = String(held.said.body.entity).replace(/^fact:/, '');
        lives.set(about, [...(lives.get(about) ?? []), held.id]);
        continue;
      }
      if (audienceOf(held.said) === 'local') continue;
      const key = keyName(held.said);
      byKey.set(key, [...(byKey.get(key) ?? []), held]);
    }
    const view = new Map<string, string>();
    for (const [key, all] of byKey) {
      if (!all.every(({ said }) => this.#isBelieved(daemon, said.org))) continue;
      const ids = all.map(({ id }) => id).sort();
      const shown = ids.map((id) => facts.get(statementId(Buffer.from(id, 'hex'))) ?? id);
      const about = ids.flatMap((id) => lives.get(statementId(Buffer.from(id, 'hex'))) ?? []).sort();
      const held = createHash('sha256')
        .update([...ids, ...about].join())
        .digest('hex')
        .slice(0, 12);
      view.set(
        `${key} (${ids.length} statements, ${held})`,
        [...shown, ...(conflicts.get(key) ?? []).sort()].join('\n'),
      );
    }
    return view;
  }

  /** Whether what an organisation says counts at a daemon, and always did: its own, or paired from the start. */
  #isBelieved(daemon: SimDaemon, org: string): boolean {
    const { ledger, daemons } = this.#cluster;
    if (daemon.org === org) return true;
    const ofOrg = daemons.filter((one) => one.org === org);
    const decided = ofOrg.filter((one) => ledger.during(daemon.name, one.name, 0, Number.POSITIVE_INFINITY).length > 0);
    return decided.length > 0 && decided.every((one) => ledger.isSteady(daemon.name, one.name));
  }
}

function keyName(said: { readonly body: object; readonly ext?: object }): string {
  const { entity, relation, scope } = said.body as Record<string, unknown>;
  const { garden_id } = (said.ext ?? {}) as Record<string, unknown>;
  return JSON.stringify([entity, relation, scope, garden_id ?? null]);
}
