import type { JsonObject } from '../facts/canonical-json.ts';
import { cidText, type Digest, parseCid } from '../facts/cid.ts';
import { formatInstant } from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import { auditByFactKey, auditByFactRange, auditKey, auditRange, auditSeqOf, readU64, u64 } from '../store/keys.ts';
import type { Reader, StoreOp } from '../store/store.ts';
import { NodeError } from './errors.ts';
import { FEDERATION_AUDIT_TYPES } from './federation.ts';
import { AUDIT_SLICE, MAX_AUDIT_OF_FACT, MAX_AUDIT_SCANNED } from './local-limits.ts';
import type { PageCursors } from './page-cursor.ts';
import { fromJson, toJson } from './records.ts';
import type { AuditEntry, AuditEvent, AuditQuery, AuditService } from './services.ts';

/** An audit entry as stored; what is null or empty is left out. */
interface StoredAudit {
  readonly type: string;
  /** Unix ms. */
  readonly at: number;
  readonly who: string;
  /** Id of the API key. */
  readonly key?: string;
  /** Statement digest, base64url. */
  readonly fact?: string;
  readonly source?: string;
  readonly detail?: JsonObject;
}

const EMPTY = Buffer.alloc(0);

/**
 * What an audit entry writes.
 *
 * @param seq the entry's place in the audit log
 * @param at Unix ms
 * @param indexByFact false for the write of a statement itself: its log record carries the audit sequence, which saves
 *   an index entry a statement
 */
export function encodeAudit(event: AuditEvent, seq: number, at: number, indexByFact = true): StoreOp[] {
  const { type, who, fact, source, detail } = event;
  const stored: StoredAudit = {
    type,
    at,
    who: who.entity,
    ...(who.keyId === null ? {} : { key: who.keyId }),
    ...(fact === undefined ? {} : { fact: Buffer.from(fact).toString('base64url') }),
    ...(source === undefined ? {} : { source }),
    ...(detail === undefined ? {} : { detail }),
  };
  const ops: StoreOp[] = [{ type: 'put', key: auditKey(seq), value: toJson(stored) }];
  if (fact !== undefined && indexByFact) ops.push({ type: 'put', key: auditByFactKey(fact, seq), value: EMPTY });
  return ops;
}

function decodeAudit(seq: number, value: Buffer): AuditEntry {
  const { type, at, who, key, fact, source, detail } = fromJson<StoredAudit>(value);
  return {
    seq,
    type,
    ts: formatInstant(at),
    principal: who,
    keyId: key ?? null,
    factId: fact === undefined ? null : cidText(Buffer.from(fact, 'base64url')),
    source: source ?? who,
    detail: detail ?? null,
  };
}

export interface AuditComponents {
  readonly store: Reader;
  readonly cursors: PageCursors;
  /** Newest audit sequence. */
  readonly head: () => number;
  /** Audit sequence of the write of this statement; undefined when there is no such statement. */
  readonly auditSeqOfFact: (digest: Digest) => Promise<number | undefined>;
}

/** The read side of the audit log (spec/decisions/0010: it takes a permission of its own). */
export class AuditLog implements AuditService {
  readonly #components: AuditComponents;

  constructor(components: AuditComponents) {
    this.#components = components;
  }

  /**
   * Newest first. Looks at a bounded number of entries a page: a page can be short and still have a cursor.
   *
   * @throws NodeError `permission_denied`, `invalid_cursor`; FactError `invalid_cid`
   */
  async list(who: Principal, query: AuditQuery): Promise<{ entries: readonly AuditEntry[]; cursor: string | null }> {
    const { type, principal, source, factId, federation, cursor, limit } = query;
    assertMayAudit(who, federation !== undefined);
    const { cursors, head } = this.#components;
    const mesh = federation === undefined ? [] : ['mesh', federation.peerId ?? null];
    const name = JSON.stringify(['audit', type ?? null, principal ?? null, source ?? null, factId ?? null, ...mesh]);
    const before = cursor === undefined ? head() + 1 : readU64(cursors.decode(name, cursor).order);
    const entries: AuditEntry[] = [];
    const take = (entry: AuditEntry): boolean => {
      if (type !== undefined && entry.type !== type) return false;
      if (principal !== undefined && entry.principal !== principal) return false;
      if (source !== undefined && entry.source !== source) return false;
      if (federation !== undefined && !isAboutMesh(entry, federation.peerId)) return false;
      return entries.push(entry) === limit;
    };
    const last =
      factId === undefined ? await this.#walk(before, take) : await this.#walkFact(digestOf(factId), before, take);
    return { entries, cursor: last === null ? null : cursors.encode(name, { order: u64(last), head: head() }) };
  }

  /**
   * Everything recorded about one statement, oldest first, at most {@link MAX_AUDIT_OF_FACT} entries.
   *
   * @throws NodeError `permission_denied`, `fact_not_found`; FactError `invalid_cid`
   */
  async ofFact(who: Principal, factId: string): Promise<readonly AuditEntry[]> {
    assertMayAudit(who);
    const seqs = await this.#seqsOfFact(digestOf(factId));
    if (seqs.length === 0) {
      throw new NodeError('fact_not_found', 'fact not found', 'give the id of a statement as the daemon returned it');
    }
    return this.#read(seqs);
  }

  /** Walks down from `before`. Returns the sequence at which the next page starts, null at the end of the log. */
  async #walk(before: number, take: (entry: AuditEntry) => boolean): Promise<number | null> {
    const scan = this.#components.store.scan({ ...auditRange(0, before), reverse: true });
    try {
      for (let scanned = 0; scanned < MAX_AUDIT_SCANNED; scanned += AUDIT_SLICE) {
        const rows = await scan.next(AUDIT_SLICE);
        for (const { key, value } of rows) {
          const seq = auditSeqOf(key);
          if (take(decodeAudit(seq, value))) return seq > 1 ? seq : null;
        }
        if (rows.length < AUDIT_SLICE) return null;
        if (scanned + AUDIT_SLICE >= MAX_AUDIT_SCANNED) return auditSeqOf(rows.at(-1)!.key);
      }
      return null;
    } finally {
      await scan.close();
    }
  }

  async #walkFact(digest: Digest, before: number, take: (entry: AuditEntry) => boolean): Promise<number | null> {
    const seqs = (await this.#seqsOfFact(digest)).filter((seq) => seq < before).reverse();
    for (const entry of await this.#read(seqs)) {
      if (take(entry)) return entry.seq === seqs.at(-1) ? null : entry.seq;
    }
    return null;
  }

  /** Audit sequences about one statement, ascending. */
  async #seqsOfFact(digest: Digest): Promise<number[]> {
    const { store, auditSeqOfFact } = this.#components;
    const written = await auditSeqOfFact(digest);
    const scan = store.scan(auditByFactRange(digest));
    const rows = await scan.next(MAX_AUDIT_OF_FACT);
    await scan.close();
    const seqs = new Set(rows.map(({ key }) => auditSeqOf(key)));
    if (written !== undefined) seqs.add(written);
    return [...seqs].sort((a, b) => a - b).slice(0, MAX_AUDIT_OF_FACT);
  }

  async #read(seqs: readonly number[]): Promise<AuditEntry[]> {
    const values = await this.#components.store.getMany(seqs.map(auditKey));
    return seqs.flatMap((seq, i) => (values[i] === undefined ? [] : [decodeAudit(seq, values[i])]));
  }
}

function digestOf(factId: string): Digest {
  const { form, digest } = parseCid(factId);
  if (form === 'cid') return digest;
  throw new NodeError(
    'invalid_query',
    'an audit trail belongs to a statement, sha256: names a claim',
    'give the id of the fact (bagaaiera…)',
  );
}

const FEDERATION_TYPES: ReadonlySet<string> = new Set(FEDERATION_AUDIT_TYPES);

function isAboutMesh({ type, detail }: AuditEntry, peerId: string | undefined): boolean {
  return FEDERATION_TYPES.has(type) && (peerId === undefined || detail?.peer_id === peerId);
}

function assertMayAudit(who: Principal, meshOnly = false): void {
  if (who.permissions.has('audit.read') || who.permissions.has('admin')) return;
  if (meshOnly && who.permissions.has('federate')) return;
  const needed = meshOnly ? 'federate' : 'audit.read';
  throw new NodeError(
    'permission_denied',
    `${needed} permission required`,
    `use a key with permission '${needed}' or 'admin'`,
  );
}
