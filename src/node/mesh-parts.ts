import type { KeyObject } from 'node:crypto';
import {
  encodeStatement,
  formatInstant,
  type HybridLogicalClock,
  type ManifestStatement,
  type Statement,
  statementId,
} from '../facts/index.ts';
import type { BarredState } from '../facts/view.ts';
import * as keys from '../store/keys.ts';
import type { Store } from '../store/store.ts';
import { Admission } from './admission.ts';
import { Authority } from './authority.ts';
import type { Cardinality } from './cardinality.ts';
import { Equivocations } from './equivocation.ts';
import type { Expiry } from './expiry.ts';
import { Inbound } from './inbound.ts';
import { Invites } from './invites.ts';
import { Manifests } from './manifests.ts';
import { NotedTargets } from './noted.ts';
import { Peers } from './peers.ts';
import { Reassessment } from './reassess.ts';
import { fromJson } from './records.ts';
import { Refusals } from './refusals.ts';
import { Serial } from './serial.ts';
import { Sets } from './sets.ts';
import { Standing, type UnknownOrigins } from './standing.ts';
import type { ViewTable } from './view-table.ts';
import { Warnings } from './warnings.ts';
import type { Head, Writer } from './writer.ts';

export interface MeshPartsComponents {
  readonly store: Store;
  readonly writer: Writer;
  readonly views: ViewTable;
  readonly clock: HybridLogicalClock;
  readonly cardinality: Cardinality;
  readonly expiry: Expiry;
  readonly nodeKey: KeyObject;
  readonly keyOfOrigin: (peerId: string) => KeyObject;
  readonly publicKeyOf: (peerId: string) => Uint8Array;
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly started: Promise<void>;
  /** Told when somebody's word counts otherwise than before. */
  readonly onJudged: () => void;
}

export interface MeshPartsInit {
  readonly org: string;
  readonly peerId: string;
  /** Peer ids this node had before its key was changed. */
  readonly formerPeerIds: readonly string[];
  readonly unknownOrigins: UnknownOrigins;
  readonly trustedResolvers: readonly string[];
  readonly maxSkewMs: number;
}

/** The parts of the node that know other organisations, and the door of the log, which asks them. */
export class MeshParts {
  readonly admission: Admission;
  readonly standing: Standing;
  readonly manifests: Manifests;
  readonly peers: Peers;
  readonly invites: Invites;
  readonly sets: Sets;
  readonly inbound: Inbound;
  readonly refusals: Refusals;
  readonly reassessment: Reassessment;
  readonly equivocations: Equivocations;
  readonly warnings: Warnings;
  readonly #store: Store;
  readonly #writer: Writer;
  readonly #noted: NotedTargets;
  readonly #trusted: ReadonlySet<string>;

  constructor(components: MeshPartsComponents, init: MeshPartsInit) {
    const { store, writer, views, clock, cardinality, expiry, nodeKey, keyOfOrigin, publicKeyOf } = components;
    const { now, randomBytes, started, onJudged } = components;
    const { org, peerId, unknownOrigins, trustedResolvers } = init;
    const self = { org, peerId };
    this.#store = store;
    this.#writer = writer;
    this.#noted = new NotedTargets(store);
    this.#trusted = new Set([org, ...trustedResolvers]);
    this.warnings = new Warnings(now);
    const { warnings } = this;
    const serial = new Serial();
    this.sets = new Sets(
      {
        store,
        writer,
        started,
        onForeign: (of, seq) => this.standing.count(of, seq),
        isQuarantined: (of) => this.standing.isQuarantined(of),
        onDamaged: (digest) =>
          warnings.add(
            'damage',
            `the stored statement ${statementId(digest)} is damaged; stop and run 'stigmesh verify --quarantine', then peers that have it bring it back`,
          ),
      },
      self,
    );
    const { sets } = this;
    this.reassessment = new Reassessment(
      {
        ...{ store, writer, sets, onJudged },
        judge: (group, statement, seq) => this.admission.judge(group, statement, seq),
      },
      { org, unknownOrigins, trustedResolvers: [...trustedResolvers].sort() },
    );
    this.manifests = new Manifests(
      {
        store,
        writer,
        now,
        warnings,
        onNodesChanged: (group, of) => this.reassessment.due(group, of),
        state: async (group, who, manifest) => {
          const statement: ManifestStatement = {
            ...{ v: 1, kind: 'manifest', origin: peerId, org, audience: 'public', hlc: clock.tick() },
            ...{ timestamp: formatInstant(group.now), body: manifest, ext: {} },
          };
          await this.admission.admit(group, encodeStatement(statement), { via: 'local' }, who);
        },
      },
      self,
    );
    const { manifests } = this;
    this.standing = new Standing(
      { store, manifests, onChanged: (group, of) => this.reassessment.due(group, of) },
      { ...self, formerPeerIds: new Set(init.formerPeerIds), unknownOrigins },
    );
    const { standing } = this;
    this.refusals = new Refusals({ writer, now });
    const { refusals } = this;
    this.peers = new Peers({ store, writer, standing, now, publicKeyOf, serial }, self);
    const { peers } = this;
    this.invites = new Invites({ store, writer, peers, refusals, now, randomBytes, serial });
    manifests.on((known) => peers.follow(known));
    const authority = new Authority({ manifests, standing, isRemoved: (of) => peers.isRemoved(of), now }, self);
    this.equivocations = new Equivocations({ sets, warnings });
    const { equivocations } = this;
    this.admission = new Admission(
      {
        ...{ store, views, clock, cardinality, expiry, nodeKey, keyOfOrigin },
        ...{ authority, standing, manifests, sets, equivocations, noted: this.#noted },
      },
      { maxSkewMs: init.maxSkewMs, org },
    );
    const { admission } = this;
    this.inbound = new Inbound({ store, admission, writer, sets, manifests, refusals, warnings });
  }

  /** Whether resolutions of an organisation are applied here. */
  trusts(org: string): boolean {
    return this.#trusted.has(org);
  }

  /** Whether a statement with this sequence number counts, or why not. */
  standingOf({ org, origin, hlc }: Statement, seq: number): 'good' | BarredState {
    return this.standing.of({ org, origin: this.standing.originOf(origin), hlc, seq });
  }

  /** Whether the key that signed a statement was revoked since, by its organisation or by our operator. */
  isSourceRevoked(org: string, origin: string): boolean {
    return this.standing.isKeyRevoked(org, origin) || this.peers.isRemoved(origin);
  }

  /** Reads into memory what views are computed by; before any view is. */
  async load(): Promise<void> {
    await Promise.all([this.manifests.load(), this.standing.load(), this.peers.load(), this.invites.load()]);
    // As the disk has it: when a group was resurrected, the writer does not know its own head yet.
    const head = await this.#store.get(keys.metaKey('head'));
    await this.sets.load(head ? fromJson<Head>(head).seq : 0);
    await this.reassessment.load();
    void this.#noted.load();
  }

  /** Goes on with what a former run left undone, once everything else is loaded. */
  async start(): Promise<void> {
    for (const known of this.manifests.list()) this.peers.follow(known);
    await this.reassessment.start();
  }

  /** What the node does once a second. Never rejects. */
  tick(): void {
    void this.peers.sweep();
    this.refusals.flush();
    this.reassessment.resume();
    void this.#noted.load();
    if (this.sets.failure === undefined) return;
    this.sets.load(this.#writer.head.seq).catch(() => {
      // Tried again at the next tick; the store says what is wrong with it.
    });
  }

  /** Resolves when no view waits to be computed again because of somebody's standing. */
  async settled(): Promise<void> {
    await this.peers.settled();
    await this.reassessment.settled();
    await this.refusals.settled();
  }

  async stop(): Promise<void> {
    const judged = this.reassessment.stop();
    await this.sets.stop();
    await judged;
    await this.#noted.stop();
    await this.peers.settled();
    this.refusals.flush(true);
  }

  /** What status has to say about other organisations, and about how we appear to them. */
  statusWarnings(): string[] {
    const warnings = [...this.manifests.ownWarnings(), ...this.warnings.list()];
    if (this.sets.failure !== undefined) warnings.push('the reconciliation indexes could not be loaded yet');
    return warnings;
  }
}
