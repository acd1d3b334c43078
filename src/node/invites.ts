import { INVITE_ID_BYTES, INVITE_SECRET_BYTES } from '../identity/limits.ts';
import { hashSecret } from '../identity/proof.ts';
import type { Principal } from '../policy/principal.ts';
import type { PeerTerms } from '../policy/sharing.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import { NodeError, type NodeErrorCode } from './errors.ts';
import type { InviteRecord, PeerRecord } from './federation.ts';
import { MAX_CLOSED_INVITES, MAX_INVITE_LIFE_S, MAX_OPEN_INVITES } from './mesh-limits.ts';
import type { InviteService, PeerDeclared } from './mesh-services.ts';
import { normalTerms, peerPrincipal, requireFederate } from './peer-terms.ts';
import { type Peers, revoked as peerRevoked } from './peers.ts';
import { fromJson, toJson } from './records.ts';
import type { Refusals } from './refusals.ts';
import type { Serial } from './serial.ts';
import type { AuditEvent } from './services.ts';
import { type Group, recovered, type Writer } from './writer.ts';

export interface InvitesComponents {
  readonly store: Reader;
  readonly writer: Writer;
  readonly peers: Peers;
  readonly refusals: Refusals;
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  /** The one that peers decide in. */
  readonly serial: Serial;
}

/** Invites of ours, in memory, written through. Spending one and making its bearer a peer is one write. */
export class Invites implements InviteService {
  readonly #components: InvitesComponents;
  readonly #records = new Map<string, InviteRecord>();
  /** How often the records were read from disk: what was decided over those before is void. */
  #loads = 0;

  constructor(components: InvitesComponents) {
    this.#components = components;
  }

  /** Reads every invite into memory; call before anything else. */
  async load(): Promise<void> {
    const stored: InviteRecord[] = [];
    await forEachSlice(this.#components.store, keys.inviteRange(), (rows) => {
      for (const { value } of rows) stored.push(fromJson<InviteRecord>(value));
      return undefined;
    });
    this.#records.clear();
    for (const record of stored) this.#records.set(record.id, record);
    this.#loads += 1;
  }

  list(): readonly InviteRecord[] {
    return [...this.#records.values()].sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1));
  }

  get(id: string): InviteRecord | undefined {
    return this.#records.get(id);
  }

  create(who: Principal, input: PeerTerms & { readonly expiresIn: number }) {
    return this.#components.serial.run(async () => {
      requireFederate(who);
      const { expiresIn } = input;
      if (!Number.isInteger(expiresIn) || expiresIn < 1 || expiresIn > MAX_INVITE_LIFE_S) {
        throw new NodeError(
          'invalid_terms',
          `an invite lives from a second to ${MAX_INVITE_LIFE_S}`,
          'shorten its life',
        );
      }
      const terms = normalTerms(input);
      const { randomBytes, now } = this.#components;
      const closed = this.list().filter((record) => !this.#isOpen(record));
      if (this.#records.size - closed.length >= MAX_OPEN_INVITES) {
        throw new NodeError('limit_reached', `${MAX_OPEN_INVITES} invites are open`, 'take back those nobody will use');
      }
      const secret = randomBytes(INVITE_SECRET_BYTES);
      const createdAt = now();
      const record: InviteRecord = {
        id: Buffer.from(randomBytes(INVITE_ID_BYTES)).toString('hex'),
        secretHash: hashSecret(secret),
        terms,
        createdAt,
        expiresAt: createdAt + expiresIn * 1000,
        createdBy: who.entity,
        usedBy: null,
        usedAt: null,
        revokedAt: null,
      };
      const event = { type: 'invite_created', who, detail: inviteDetail(record) };
      await this.#write(record, event, closed.slice(MAX_CLOSED_INVITES));
      return { record, secret };
    });
  }

  revoke(who: Principal, id: string): Promise<void> {
    return this.#components.serial.run(async () => {
      requireFederate(who);
      const record = this.#records.get(id);
      if (!record) throw new NodeError('invite_not_found', 'no such invite', "list them with 'stigmesh invite list'");
      if (record.usedBy !== null)
        throw refusal('invite_spent', 'the invite was used already', 'remove the peer instead');
      if (record.revokedAt !== null)
        throw refusal('invite_revoked', 'the invite was taken back already', 'nothing to do');
      const next = { ...record, revokedAt: this.#components.now() };
      await this.#write(next, { type: 'invite_revoked', who, detail: inviteDetail(next) });
    });
  }

  redeem(
    id: string,
    peerId: string,
    declared: PeerDeclared,
    proves: (record: InviteRecord) => boolean,
  ): Promise<PeerRecord> {
    return this.#components.serial.run(async () => {
      try {
        return await this.#redeem(id, peerId, declared, proves);
      } catch (error) {
        if (error instanceof NodeError) {
          // Whoever can dial us can try: the audit log gets one entry a minute about it.
          const detail = { invite: id.slice(0, 2 * INVITE_ID_BYTES), org: declared.org };
          this.#components.refusals.note({ type: 'invite_refused', peerId, code: error.code, detail });
        }
        throw error;
      }
    });
  }

  async #redeem(
    id: string,
    peerId: string,
    declared: PeerDeclared,
    proves: (record: InviteRecord) => boolean,
  ): Promise<PeerRecord> {
    const { peers, now } = this.#components;
    const record = this.#records.get(id);
    if (!record) throw refusal('invite_not_found', 'no such invite', 'ask for a new one');
    // Before anything else is said about it: whoever lacks the secret learns nothing of the invite.
    if (!proves(record)) throw refusal('invite_refused', 'the proof does not fit the invite', 'paste the invite again');
    if (record.revokedAt !== null) throw refusal('invite_revoked', 'the invite was taken back', 'ask for a new one');
    const known = peers.get(peerId);
    if (known?.state === 'revoked') throw peerRevoked();
    if (record.usedBy !== null) {
      if (record.usedBy === peerId && known?.approved) return known;
      throw refusal(
        'invite_spent',
        'the invite was used already',
        'if it was not you, somebody else has it: tell whoever sent it to remove that peer',
      );
    }
    // It was none when it declared itself, or would not have come this far.
    if (known?.state === 'suspended') throw refusal('peer_refused', 'the peer is suspended', 'resume it first');
    if (record.expiresAt <= now()) throw refusal('invite_expired', 'the invite has expired', 'ask for a new one');
    const { org, orgKey } = declared;
    const approval = { ...record.terms, identity: { org, orgKey }, via: 'invite' as const };
    const next = peers.withDeclared(peers.prepareApproval(peerId, approval), declared);
    const used = { ...record, usedBy: peerId, usedAt: now() };
    const who = peerPrincipal(peerId);
    await peers.commit(who, next, 'peer_approved', (group) => {
      this.#put(group, used);
      group.audit({ type: 'invite_used', who, source: who.entity, detail: { ...inviteDetail(used), org } });
    });
    this.#records.set(id, used);
    return peers.require(peerId);
  }

  #isOpen({ usedBy, revokedAt, expiresAt }: InviteRecord): boolean {
    return usedBy === null && revokedAt === null && expiresAt > this.#components.now();
  }

  #put(group: Group, record: InviteRecord): void {
    group.ops.push({ type: 'put', key: keys.inviteKey(record.id), value: toJson(record) });
  }

  async #write(record: InviteRecord, event: AuditEvent, dropped: readonly InviteRecord[] = []): Promise<void> {
    const loads = this.#loads;
    await this.#components.writer.submit(1, (group) => {
      if (loads !== this.#loads) throw recovered();
      this.#put(group, record);
      for (const { id } of dropped) group.ops.push({ type: 'del', key: keys.inviteKey(id) });
      group.audit(event);
    });
    this.#records.set(record.id, record);
    for (const { id } of dropped) this.#records.delete(id);
  }
}

function inviteDetail({ id, terms, expiresAt, usedBy }: InviteRecord) {
  const { gives, takes, namespaces } = terms;
  return {
    invite: id,
    gives,
    takes,
    namespaces,
    expires_at: expiresAt,
    ...(usedBy === null ? {} : { peer_id: usedBy }),
  };
}

function refusal(code: NodeErrorCode, message: string, hint: string): NodeError {
  return new NodeError(code, message, hint);
}
