import { type Principal, SYSTEM } from '../policy/principal.ts';
import type { Pairing } from '../policy/sharing.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import { NodeError } from './errors.ts';
import type { KnownManifest, PeerPatch, PeerRecord } from './federation.ts';
import { MAX_DECLARED_PEERS, MAX_PENDING_PEERS, MAX_REMOVED_PEERS, SEEN_WRITE_MS } from './mesh-limits.ts';
import type { PeerDeclared, PeerListener, PeerService } from './mesh-services.ts';
import {
  blankRecord,
  normalAddrs,
  normalTerms,
  peerDetail,
  peerPrincipal,
  requireFederate,
  SIBLING_TERMS,
  sameJson,
} from './peer-terms.ts';
import { fromJson, toJson } from './records.ts';
import type { Serial } from './serial.ts';
import type { Standing } from './standing.ts';
import { type Group, recovered, type Writer } from './writer.ts';

export interface PeersComponents {
  readonly store: Reader;
  readonly writer: Writer;
  readonly standing: Pick<Standing, 'pair' | 'isKeyRevoked'>;
  readonly now: () => number;
  /** Throws for what is no Ed25519 peer id. */
  readonly publicKeyOf: (peerId: string) => Uint8Array;
  /** Shared with whatever else decides over peers, so that decisions come one after the other. */
  readonly serial: Serial;
}

export interface PeersInit {
  readonly peerId: string;
  readonly org: string;
}

/** One change of one record. */
interface Change {
  readonly next: PeerRecord;
  readonly type: string | null;
  readonly who: Principal;
}

/** Every peer on record, in memory, written through. */
export class Peers implements PeerService {
  readonly #components: PeersComponents;
  readonly #init: PeersInit;
  readonly #records = new Map<string, PeerRecord>();
  readonly #listeners = new Set<PeerListener>();
  /** Records that wait to be written since they were seen, in one write: a network that fails takes everybody at once. */
  readonly #seen = new Map<string, PeerRecord>();
  /** Earliest instant at which something expires. */
  #nextExpiry = Number.POSITIVE_INFINITY;
  #following: Promise<void> = Promise.resolve();
  /** What manifests said that could not be written. */
  readonly #unfollowed = new Map<string, KnownManifest>();
  /** How often the records were read from disk: what was decided over those before is void. */
  #loads = 0;

  constructor(components: PeersComponents, init: PeersInit) {
    this.#components = components;
    this.#init = init;
  }

  /**
   * Reads every peer into memory; call before anything else. Called again when a group was resurrected: whoever follows
   * is told of what changed with it.
   */
  async load(): Promise<void> {
    const stored: PeerRecord[] = [];
    await forEachSlice(this.#components.store, keys.peerRange(), (rows) => {
      for (const { value } of rows) stored.push(fromJson<PeerRecord>(value));
      return undefined;
    });
    // At once: whoever is removed must not be a stranger for a moment, nor when the disk cannot be read.
    const known = new Map(this.#records);
    this.#records.clear();
    for (const record of stored) this.#records.set(record.peerId, record);
    this.#loads += 1;
    this.#expect();
    for (const [peerId, peer] of this.#records) {
      const before = known.get(peerId);
      if (sameJson(before, peer)) continue;
      for (const listener of this.#listeners) listener.changed({ peer, before });
    }
  }

  list(): readonly PeerRecord[] {
    const records = [...this.#records.values()].map((record) => this.#asOfNow(record));
    return records.sort((a, b) => a.createdAt - b.createdAt || (a.peerId < b.peerId ? -1 : 1));
  }

  get(peerId: string): PeerRecord | undefined {
    const record = this.#records.get(peerId);
    return record && this.#asOfNow(record);
  }

  require(peerId: string): PeerRecord {
    const record = this.get(peerId);
    if (record) return record;
    throw new NodeError('peer_not_found', 'no such peer', "list them with 'stigmesh peers'");
  }

  pairing(peerId: string): Pairing | undefined {
    const record = this.get(peerId);
    if (record?.state !== 'active') return undefined;
    return { org: this.#init.org, peerOrg: record.org!, ours: record.ours, theirs: record.theirs! };
  }

  isPaired(org: string): boolean {
    return org === this.#init.org || this.#activeOf(org).length > 0;
  }

  /** Whether our operator removed this node: nothing it signs is taken any more. */
  isRemoved(peerId: string): boolean {
    return this.#records.get(peerId)?.revokedBy === 'operator';
  }

  on(listener: PeerListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  noteUnknown(peerId: string, declared: PeerDeclared): Promise<PeerRecord> {
    return this.#run(async () => {
      const old = this.get(peerId);
      if (old && (old.approved || old.state !== 'pending')) {
        this.seen(peerId);
        return this.require(peerId);
      }
      const next = {
        ...this.#declaredRecord(old ?? this.#fresh(peerId, 'unknown'), declared),
        state: 'pending' as const,
      };
      if (old && !differs(old, next)) {
        this.seen(peerId);
        return old;
      }
      const dropped = old ? [] : this.#beyond('pending', MAX_PENDING_PEERS - 1);
      await this.#write({ next, type: old ? null : 'peer_pending', who: peerPrincipal(peerId) }, dropped);
      return this.require(peerId);
    });
  }

  declared(peerId: string, declared: PeerDeclared): Promise<PeerRecord> {
    return this.#run(async () => {
      const old = this.require(peerId);
      if (old.state === 'revoked') throw revoked();
      this.#assertKey(declared.org, peerId);
      if (!old.approved) throw refused('nobody here approved this peer', "approve it: 'stigmesh peers approve'");
      if (old.org !== null && old.org !== declared.org) {
        throw refused(
          `${peerId} is on record as a node of ${old.org}, and declares ${declared.org}`,
          'a peer does not change its organisation; remove it, and pair with the other one anew',
        );
      }
      const next = this.#declaredRecord(old, declared);
      if (!differs(old, next)) {
        this.seen(peerId);
        return this.require(peerId);
      }
      await this.#write({ next, type: 'peer_declared', who: peerPrincipal(peerId) });
      return this.require(peerId);
    });
  }

  admitSibling(peerId: string, declared: PeerDeclared): Promise<PeerRecord> {
    return this.#run(async () => {
      const old = this.get(peerId);
      if (old?.state === 'revoked') throw revoked();
      if (declared.org !== this.#init.org) throw refused('not a daemon of our organisation', 'pair with it');
      this.#assertKey(declared.org, peerId);
      this.#assertPeer(peerId);
      if (!old?.approved) this.#assertRoom();
      const base = { ...(old ?? this.#fresh(peerId, 'org')), via: 'org' as const, ours: SIBLING_TERMS, approved: true };
      const next = this.#declaredRecord({ ...base, expiresAt: null }, declared);
      if (old && !differs(old, next)) {
        this.seen(peerId);
        return this.require(peerId);
      }
      await this.#write({ next, type: old?.approved ? 'peer_declared' : 'peer_approved', who: peerPrincipal(peerId) });
      return this.require(peerId);
    });
  }

  seen(peerId: string): void {
    const record = this.#records.get(peerId);
    if (!record) return;
    const at = this.#components.now();
    const isStale = record.lastSeenAt === null || record.lastSeenAt + SEEN_WRITE_MS <= at;
    if (!isStale) return;
    const next = { ...record, lastSeenAt: at };
    this.#records.set(peerId, next);
    this.#seen.set(peerId, next);
    if (this.#seen.size > 1) return;
    // After a change that is being written, which may be the end of this peer: the record before it must not come back.
    const write = this.#run(async () => {
      const waiting = [...this.#seen];
      this.#seen.clear();
      // What came in between stands, also what turns out to be on disk when the writer looks.
      const isAsSeen = ([id, seen]: [string, PeerRecord]): boolean => this.#records.get(id) === seen;
      if (!waiting.some(isAsSeen)) return;
      await this.#components.writer.writeLocal(() => {
        const ops = waiting
          .filter(isAsSeen)
          .map(([id, seen]) => ({ type: 'put' as const, key: keys.peerKey(id), value: toJson(seen) }));
        return { ops, audit: [], result: undefined };
      });
    });
    // It is written again with the next change; a store that fails says so by itself.
    write.catch(() => {});
  }

  approve(who: Principal, peerId: string, input: Parameters<PeerService['approve']>[2]): Promise<PeerRecord> {
    return this.#run(async () => {
      requireFederate(who);
      const next = this.prepareApproval(peerId, input);
      await this.#write({ next, type: 'peer_approved', who });
      return this.require(peerId);
    });
  }

  update(who: Principal, peerId: string, patch: PeerPatch): Promise<PeerRecord> {
    return this.#run(async () => {
      requireFederate(who);
      const old = this.require(peerId);
      if (old.state === 'revoked') throw revoked();
      const { gives = old.ours.gives, takes = old.ours.takes, namespaces = old.ours.namespaces } = patch;
      const changed: PeerRecord = {
        ...old,
        ours: normalTerms({ gives, takes, namespaces }),
        addrs: patch.addrs === undefined ? old.addrs : normalAddrs(patch.addrs),
        expiresAt: patch.expiresAt === undefined ? old.expiresAt : patch.expiresAt,
        suspended: patch.suspended ?? old.suspended,
      };
      const next = this.#settled(changed);
      if (!differs(old, next)) return old;
      const type = next.suspended && !old.suspended ? 'peer_suspended' : 'peer_changed';
      await this.#write({ next, type, who });
      return this.require(peerId);
    });
  }

  remove(who: Principal, peerId: string): Promise<PeerRecord> {
    return this.#run(async () => {
      requireFederate(who);
      const old = this.require(peerId);
      if (old.revokedBy === 'operator') return old;
      await this.#revoke(old, 'operator', who);
      return this.require(peerId);
    });
  }

  /** The record of a peer that is approved now, not yet written. @throws NodeError as {@link approve} */
  prepareApproval(peerId: string, input: Parameters<PeerService['approve']>[2]): PeerRecord {
    this.#assertPeer(peerId);
    const { identity, via = 'approval', addrs, expiresAt = null } = input;
    const old = this.get(peerId);
    if (old?.revokedBy === 'manifest') throw keyRevoked();
    const org = identity?.org ?? old?.org;
    if (org != null) this.#assertKey(org, peerId);
    // An invite may have been on its way when our operator removed the peer.
    if (old?.state === 'revoked' && via === 'invite') throw revoked();
    if (!old?.approved || old.state === 'revoked') this.#assertRoom();
    if (identity && old?.org != null && (old.org !== identity.org || old.orgKey !== identity.orgKey)) {
      throw new NodeError(
        'fingerprint_mismatch',
        `the peer says to be of ${old.org}, with another key than the one compared`,
        'compare fingerprints again with its operator, by a way you trust',
      );
    }
    const base = old ?? this.#fresh(peerId, via);
    return this.#settled({
      ...base,
      ...identity,
      via,
      ours: normalTerms(input),
      expiresAt,
      addrs: addrs === undefined ? base.addrs : normalAddrs(addrs),
      approved: true,
      suspended: false,
      revokedBy: null,
    });
  }

  /** What a peer declared, on its record, not yet written. */
  withDeclared(record: PeerRecord, declared: PeerDeclared): PeerRecord {
    return this.#declaredRecord(record, declared);
  }

  /** Writes a prepared record, with what else belongs into the same batch. To be called in the shared serial. */
  commit(who: Principal, next: PeerRecord, type: string, also: (group: Group) => void): Promise<void> {
    return this.#write({ next, type, who }, [], also);
  }

  /** Ends what has run out. Called every second; never rejects. */
  async sweep(): Promise<void> {
    for (const known of this.#unfollowed.values()) this.follow(known);
    const now = this.#components.now();
    if (now < this.#nextExpiry) return;
    await this.#run(async () => {
      for (const record of this.#records.values()) {
        const next = this.#settled(record);
        if (next.state === 'expired' && record.state !== 'expired') {
          await this.#write({ next, type: 'peer_expired', who: SYSTEM });
        }
      }
      this.#expect();
    }).catch(() => {
      // Nothing is shared with it all the same: state is told as of now. The next sweep tries again.
    });
  }

  /** Takes note that an organisation revoked node keys: peers with such a key are revoked here. */
  follow(known: KnownManifest): void {
    const { authority, manifest } = known;
    this.#unfollowed.delete(authority);
    const nodes = manifest.nodes as readonly { readonly peer_id: string; readonly revoked_at?: string }[];
    const revokedIds = nodes.filter((node) => node.revoked_at !== undefined).map((node) => node.peer_id);
    this.#following = this.#following
      .then(() =>
        this.#run(async () => {
          for (const peerId of revokedIds) {
            const record = this.#records.get(peerId);
            if (record?.org === authority && record.state !== 'revoked') await this.#revoke(record, 'manifest', SYSTEM);
          }
        }),
      )
      .catch(() => {
        // What it signs is refused by the manifest anyway. The next sweep tries again, unless a newer one did.
        if (!this.#unfollowed.has(authority)) this.#unfollowed.set(authority, known);
      });
  }

  /** Resolves when what manifests said has been written. */
  settled(): Promise<void> {
    return this.#following;
  }

  async #revoke(old: PeerRecord, revokedBy: 'operator' | 'manifest', who: Principal): Promise<void> {
    const next: PeerRecord = { ...old, state: 'revoked', revokedBy, approved: false };
    await this.#write({ next, type: 'peer_removed', who }, this.#beyond('revoked', MAX_REMOVED_PEERS - 1));
  }

  #run<T>(task: () => Promise<T>): Promise<T> {
    return this.#components.serial.run(task);
  }

  #fresh(peerId: string, via: PeerRecord['via']): PeerRecord {
    return blankRecord(peerId, via, this.#components.now());
  }

  #declaredRecord(base: PeerRecord, { org, orgKey, addrs, terms, signedAt, expiresAt }: PeerDeclared): PeerRecord {
    return this.#settled({
      ...base,
      org,
      orgKey,
      // One that says nothing about where it is may be found where it was.
      addrs: addrs.length === 0 ? base.addrs : normalAddrs(addrs),
      theirs: { ...normalTerms(terms), signedAt, expiresAt },
      lastSeenAt: this.#components.now(),
    });
  }

  /** With the state that follows from the rest. */
  #settled(record: PeerRecord): PeerRecord {
    const now = this.#components.now();
    const state = stateOf(record, now);
    return { ...record, state };
  }

  #asOfNow(record: PeerRecord): PeerRecord {
    const state = stateOf(record, this.#components.now());
    return state === record.state ? record : { ...record, state };
  }

  #activeOf(org: string): PeerRecord[] {
    const now = this.#components.now();
    return [...this.#records.values()].filter((record) => record.org === org && stateOf(record, now) === 'active');
  }

  /** The oldest of a state beyond a number of them. */
  #beyond(state: PeerRecord['state'], keep: number): PeerRecord[] {
    const all = [...this.#records.values()].filter((record) => record.state === state && !record.approved);
    return all.sort((a, b) => a.changedAt - b.changedAt).slice(0, Math.max(0, all.length - keep));
  }

  /** What it shows may be older than what its organisation said since. @throws NodeError `peer_revoked` */
  #assertKey(org: string, peerId: string): void {
    if (this.#components.standing.isKeyRevoked(org, peerId)) throw keyRevoked();
  }

  #assertPeer(peerId: string): void {
    if (peerId === this.#init.peerId) {
      throw new NodeError('peer_is_self', 'this daemon is no peer of itself', 'name another one');
    }
    try {
      this.#components.publicKeyOf(peerId);
    } catch {
      throw new NodeError('invalid_peer_id', 'not the peer id of an Ed25519 key', 'it begins with 12D3KooW');
    }
  }

  #assertRoom(): void {
    let count = 0;
    for (const { approved } of this.#records.values()) if (approved) count += 1;
    if (count < MAX_DECLARED_PEERS) return;
    throw new NodeError('limit_reached', `${MAX_DECLARED_PEERS} peers are declared`, 'remove peers that are not used');
  }

  async #write(
    { next: given, type, who }: Change,
    dropped: readonly PeerRecord[] = [],
    also: (group: Group) => void = () => {},
  ): Promise<void> {
    const { writer, standing, now } = this.#components;
    const { peerId } = given;
    const before = this.#records.get(peerId);
    const next: PeerRecord = { ...given, changedAt: now() };
    const loads = this.#loads;
    await writer.submit(1, (group) => {
      if (loads !== this.#loads) throw recovered();
      also(group);
      group.ops.push({ type: 'put', key: keys.peerKey(peerId), value: toJson(next) });
      for (const gone of dropped) group.ops.push({ type: 'del', key: keys.peerKey(gone.peerId) });
      if (type !== null) group.audit({ type, who, source: `peer:${peerId}`, detail: peerDetail(next) });
      for (const org of new Set([before?.org, next.org])) {
        if (org == null) continue;
        const others = this.#activeOf(org).filter((one) => one.peerId !== peerId);
        standing.pair(group, org, others.length > 0 || (next.org === org && next.state === 'active'));
      }
    });
    this.#records.set(peerId, next);
    for (const gone of dropped) this.#records.delete(gone.peerId);
    this.#expect();
    for (const listener of this.#listeners) {
      listener.changed({ peer: next, before });
      for (const gone of dropped) listener.dropped?.(gone.peerId);
    }
  }

  #expect(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { state, expiresAt, theirs } of this.#records.values()) {
      if (state !== 'active') continue;
      next = Math.min(next, expiresAt ?? next, theirs?.expiresAt ?? next);
    }
    this.#nextExpiry = next;
  }
}

function stateOf({ revokedBy, suspended, approved, theirs, expiresAt }: PeerRecord, now: number): PeerRecord['state'] {
  if (revokedBy !== null) return 'revoked';
  if (suspended) return 'suspended';
  if (!approved) return 'pending';
  const isOver = (at: number | null | undefined): boolean => at != null && at <= now;
  if (isOver(expiresAt) || isOver(theirs?.expiresAt)) return 'expired';
  return theirs === null ? 'pending' : 'active';
}

/** Whether anything changed but moments of the clock. */
function differs(a: PeerRecord, b: PeerRecord): boolean {
  const lasting = ({ theirs, changedAt: _, lastSeenAt: __, ...rest }: PeerRecord) => ({
    ...rest,
    theirs: theirs && { ...theirs, signedAt: 0 },
  });
  return !sameJson(lasting(a), lasting(b));
}

export function revoked(): NodeError {
  return new NodeError('peer_revoked', 'the peer was removed', 'approve it again if that was a mistake');
}

function keyRevoked(): NodeError {
  return new NodeError('peer_revoked', 'its organisation revoked the key of this peer', 'ask it for another node');
}

function refused(message: string, hint: string): NodeError {
  return new NodeError('peer_refused', message, hint);
}
