import { createPublicKey, type KeyObject } from 'node:crypto';
import { type EncodedStatement, HybridLogicalClock, isHlc } from '../facts/index.ts';
import * as keys from '../store/keys.ts';
import type { Store } from '../store/store.ts';
import { ApiKeys } from './api-keys.ts';
import { AuditLog } from './audit.ts';
import { Cardinality } from './cardinality.ts';
import { Commands } from './commands.ts';
import { Conflicts } from './conflicts.ts';
import { DerivedFacts } from './derived.ts';
import { Expiry } from './expiry.ts';
import { FactScan } from './fact-scan.ts';
import { CommitFeed, DurableCursors } from './feed.ts';
import { Gardens } from './gardens.ts';
import { Linter } from './lint.ts';
import { MeshParts } from './mesh-parts.ts';
import type { InboundService, InviteService, ManifestService, PeerService, SetsService } from './mesh-services.ts';
import type { NodeMetrics } from './metrics.ts';
import { PageCursors } from './page-cursor.ts';
import { Queries } from './queries.ts';
import type { Moment } from './reader.ts';
import { decodeLogRecord, fromJson, toJson } from './records.ts';
import type { UnknownOrigins } from './standing.ts';
import { StatusReport } from './status.ts';
import { Transfer } from './transfer.ts';
import type { FactService, NodeFigures, NodeStatus, Readiness } from './types.ts';
import { ViewTable } from './view-table.ts';
import { EMPTY_HEAD, type Head, Writer } from './writer.ts';

/** Interval of the sweep that settles expired facts nobody asked about. */
const SWEEP_MS = 1000;

export interface NodeComponents {
  readonly store: Store;
  readonly now: () => number;
  readonly randomUUID: () => string;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly setInterval: (tick: () => void, ms: number) => { unref?: () => unknown };
  readonly clearInterval: (timer: never) => void;
  /** What the store has to say to its operator at the moment. */
  readonly storeWarnings?: () => readonly string[];
  readonly metrics?: NodeMetrics | null;
  /** What only peers need is read into memory from then on: it must not delay the start. At once where it is left out. */
  readonly started?: Promise<void>;
}

export interface NodeInit {
  readonly nodeKey: KeyObject;
  readonly peerId: string;
  readonly org: string;
  /** Public key bytes (32) of a peer id; throws when it is none. */
  readonly publicKeyOf: (peerId: string) => Uint8Array;
  readonly schema: number;
  /** fsync before acknowledging. */
  readonly durable: boolean;
  /** How far ahead an inbound clock may be. */
  readonly maxSkewMs: number;
  readonly manyRelations: ReadonlySet<string>;
  /** What becomes of statements of organisations nobody here is paired with. */
  readonly unknownOrigins: UnknownOrigins;
  /** Authorities whose resolutions of conflicts apply here, besides the own one. */
  readonly trustedResolvers: readonly string[];
  readonly maxBatch: number;
  readonly maxGardens: number;
  readonly maxApiKeys: number;
  /** Audit entries kept; each new one beyond removes the oldest. */
  readonly maxAuditEntries: number;
  /** Longest and default life of an API key; 0: no limit. */
  readonly keyMaxAgeDays: number;
}

/** What the store remembers about the node that owns it. */
interface NodeMeta {
  readonly peerId: string;
  readonly org: string;
  /** Hex; signs page cursors. */
  readonly cursorSecret: string;
  /** Peer ids it had before, the newest last: what they signed stays its own. */
  readonly formerPeerIds: readonly string[];
}

/** Former peer ids remembered: a node key is changed after an accident, not as a habit. */
const MAX_FORMER_PEER_IDS = 64;

/** Ed25519 keys of origins seen, decoded once. Bounded: an importer can name any number of origins. */
const MAX_ORIGIN_KEYS = 1000;

/**
 * One daemon's memory: the log, the view over it, and the commands and queries that the API and the mesh use. It knows
 * neither HTTP nor libp2p.
 */
export class StigmeshNode {
  readonly facts: FactService;
  readonly conflicts: Conflicts;
  readonly gardens: Gardens;
  readonly keys: ApiKeys;
  readonly audit: AuditLog;
  readonly lint: Linter;
  readonly feed: CommitFeed;
  readonly cursors: DurableCursors;
  readonly transfer: Transfer;
  readonly writer: Writer;
  readonly peers: PeerService;
  readonly invites: InviteService;
  readonly manifests: ManifestService;
  readonly inbound: InboundService;
  readonly sets: SetsService;
  readonly #components: NodeComponents;
  readonly #report: StatusReport;
  readonly #cardinality: Cardinality;
  readonly #expiry: Expiry;
  readonly #mesh: MeshParts;
  /** What was noticed when it opened. */
  readonly #warnings: string[] = [];
  #sweep: { unref?: () => unknown } | undefined;

  private constructor(components: NodeComponents, init: NodeInit, head: Head, meta: NodeMeta) {
    const { store, now, randomUUID, metrics = null } = components;
    const { org, nodeKey } = init;
    this.#components = components;
    const clock = new HybridLogicalClock({ now, last: isHlc(head.hlc) ? head.hlc : undefined });
    this.#cardinality = new Cardinality(init.manyRelations, init.org);
    const cardinality = this.#cardinality;
    const views = new ViewTable({
      store,
      isMany: (entity, relation, of) => cardinality.isMany(entity, relation, of),
      standingOf: (signed) => this.#mesh.standing.of(signed),
      trusts: (of) => this.#mesh.trusts(of),
      onRevived: (until) => this.#expiry.expect(until),
    });
    const judged: Omit<Moment, 'now'> = {
      isSourceRevoked: (of, origin) => this.#mesh.isSourceRevoked(of, origin),
      standingOf: (statement, seq) => this.#mesh.standingOf(statement, seq),
    };
    const moment = (): Moment => ({ now: now(), ...judged });
    this.feed = new CommitFeed({ store, moment }, head.seq);
    this.writer = new Writer(
      { store, views, clock, now, metrics },
      {
        head,
        durable: init.durable,
        maxAuditEntries: init.maxAuditEntries,
        onCommit: ({ seq }) => this.feed.committed(seq),
        onResurrected: () => this.#load(),
      },
    );
    const { writer, feed } = this;
    this.#expiry = new Expiry({ store, now, metrics, cardinality });
    const keyOfOrigin = originKeys(init.publicKeyOf);
    const { publicKeyOf } = init;
    this.#mesh = new MeshParts(
      {
        ...{ store, writer, views, clock, cardinality, expiry: this.#expiry, nodeKey, keyOfOrigin, publicKeyOf },
        ...{ now, randomBytes: components.randomBytes, started: components.started ?? Promise.resolve() },
        onJudged: () => feed.judged(),
      },
      { ...init, formerPeerIds: meta.formerPeerIds },
    );
    const mesh = this.#mesh;
    const { admission } = mesh;
    this.peers = mesh.peers;
    this.invites = mesh.invites;
    this.manifests = mesh.manifests;
    this.inbound = mesh.inbound;
    this.sets = mesh.sets;
    this.gardens = new Gardens({ store, writer, now, randomUUID }, { org, maxGardens: init.maxGardens });
    this.keys = new ApiKeys(
      { store, writer, now, randomUUID, randomBytes: components.randomBytes },
      { maxKeys: init.maxApiKeys, maxAgeDays: init.keyMaxAgeDays },
    );
    const commands = new Commands({ store, views, writer, admission, clock, gardens: this.gardens, moment }, init);
    const settle = (): Promise<void> => this.#expiry.settle();
    const pages = new PageCursors(Buffer.from(meta.cursorSecret, 'hex'));
    const head_ = (): number => feed.head();
    const queries = new Queries({
      store,
      gardens: this.gardens,
      cursors: pages,
      moment,
      head: head_,
      settle,
      keyOfOrigin,
    });
    this.conflicts = new Conflicts({
      store,
      views,
      writer,
      queries,
      commands,
      cursors: pages,
      moment,
      head: head_,
      settle,
    });
    const derived = new DerivedFacts({ store, queries, moment, conflicts: this.conflicts });
    this.cursors = new DurableCursors({ store, writer });
    this.transfer = new Transfer({ store, admission, writer });
    this.audit = new AuditLog({
      store,
      cursors: pages,
      head: () => writer.head.auditSeq,
      auditSeqOfFact: async (digest) => {
        const record = await store.get(keys.logKey(digest));
        return record && decodeLogRecord(record, digest).auditSeq;
      },
    });
    const source = new FactScan({
      store,
      moment,
      conflicts: this.conflicts,
      currentCount: (scope) => writer.head.current[scope],
    });
    this.lint = new Linter({ source, gardens: this.gardens, now, randomUUID });
    const { gardens, keys: apiKeys, lint } = this;
    this.#report = new StatusReport(
      {
        ...{ store, writer, clock, cardinality, views, expiry: this.#expiry, lint, feed, gardens, keys: apiKeys },
        mesh,
        storeWarnings: components.storeWarnings ?? (() => []),
      },
      init,
      this.#warnings,
    );
    this.facts = {
      assert: (who, input, options) => commands.assert(who, input, options),
      assertBatch: (who, input) => commands.assertBatch(who, input),
      retract: (who, input) => commands.retract(who, input),
      query: async (who, query) => (await derived.query(who, query)) ?? queries.query(who, query),
      get: (who, id) => derived.orElse(who, id, () => queries.get(who, id)),
      history: (who, query) => queries.query(who, { ...query, include: ['history'] }),
      provenance: (who, id) => queries.provenance(who, id),
      verifyCid: (who, id) => queries.verifyCid(who, id),
    };
    this.#load = async () => {
      await Promise.all([this.gardens.load(), this.keys.load(), mesh.load()]);
      await this.#expiry.start(views, writer);
      await cardinality.start(store, views, writer);
    };
  }

  /** Reads into memory what is held there. */
  readonly #load: () => Promise<void>;

  /** Opens a node on a store whose schema was prepared. Reads its counters, never its log. */
  static async open(components: NodeComponents, init: NodeInit): Promise<StigmeshNode> {
    const { store, randomBytes } = components;
    const [storedHead, storedMeta] = await store.getMany([keys.metaKey('head'), keys.metaKey('node')]);
    const head = storedHead ? fromJson<Head>(storedHead) : EMPTY_HEAD;
    const old = storedMeta && fromJson<NodeMeta>(storedMeta);
    const cursorSecret = old?.cursorSecret ?? Buffer.from(randomBytes(32)).toString('hex');
    const formerPeerIds = [...(old?.formerPeerIds ?? []), ...(old ? [old.peerId] : [])]
      .filter((peerId) => peerId !== init.peerId)
      .slice(-MAX_FORMER_PEER_IDS);
    const meta: NodeMeta = { peerId: init.peerId, org: init.org, cursorSecret, formerPeerIds };
    if (JSON.stringify(meta) !== JSON.stringify(old)) {
      await store.batch([{ type: 'put', key: keys.metaKey('node'), value: toJson(meta) }], { durable: true });
    }
    const node = new StigmeshNode(components, init, head, meta);
    if (old && old.peerId !== init.peerId) {
      node.#warnings.push(
        `the node key changed: what ${old.peerId} signed before keeps that origin (restore keys/node.key to undo)`,
      );
    }
    if (old && old.org !== init.org) {
      node.#warnings.push(
        `org.authority changed from ${old.org}: facts stated under that name belong to another organisation now`,
      );
    }
    await Promise.all([node.#load(), node.#report.start()]);
    await node.#mesh.start();
    node.#sweep = components.setInterval(() => {
      // Both answer for their own failures. A disk that failed is tried again even if nobody writes.
      void node.#expiry.settle();
      node.#mesh.tick();
      if (node.writer.failure !== undefined) void node.writer.probe();
    }, SWEEP_MS);
    node.#sweep.unref?.();
    return node;
  }

  status(): Promise<NodeStatus> {
    return this.#report.status();
  }

  /** What is known without asking the disk. */
  figures(): NodeFigures {
    return this.#report.figures();
  }

  /** Whether writes work; with the code and the reason when they do not. */
  readiness(): Readiness {
    return this.#report.readiness();
  }

  /** Size of the store on disk; null while the disk does not answer. */
  storeBytes(): Promise<number | null> {
    return this.#report.storeBytes();
  }

  /** Indexes statements of the log again (maintenance.ts); they are neither new nor checked here. */
  rebuild(statements: readonly (EncodedStatement & { readonly seq: number })[]): Promise<void> {
    const { admission, manifests } = this.#mesh;
    return this.writer.submit(statements.length, async (group) => {
      for (const statement of statements) {
        await admission.index(group, statement, statement.seq);
        await manifests.relearn(group, statement);
      }
    });
  }

  /** Resolves when no view waits to be recomputed. */
  async settled(): Promise<void> {
    await this.#mesh.settled();
    await this.#expiry.settle(Number.POSITIVE_INFINITY);
    await this.#cardinality.settled();
  }

  /** Finishes what was accepted and refuses the rest. The store stays open: its owner closes it. */
  async stop(): Promise<void> {
    if (this.#sweep) this.#components.clearInterval(this.#sweep as never);
    this.#sweep = undefined;
    await this.lint.stop();
    await this.#mesh.stop();
    await this.writer.stop();
  }
}

/** Public keys by peer id, decoded once each. */
export function originKeys(publicKeyOf: (peerId: string) => Uint8Array): (peerId: string) => KeyObject {
  const known = new Map<string, KeyObject>();
  return (peerId) => {
    const cached = known.get(peerId);
    if (cached) return cached;
    const x = Buffer.from(publicKeyOf(peerId)).toString('base64url');
    const key = createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } });
    if (known.size >= MAX_ORIGIN_KEYS) known.clear();
    known.set(peerId, key);
    return key;
  };
}
