import type { KeyObject } from 'node:crypto';
import { canonicalBytes, type JsonValue } from '../facts/canonical-json.ts';
import { sha256 } from '../facts/cid.ts';
import {
  type Digest,
  endOfInstant,
  FactError,
  type FactScope,
  factDigest,
  isHlc,
  normalizeRelation,
  normalizeUri,
  parseCid,
  parseInstant,
  relationNamespace,
  SCOPES,
  sha256Name,
  statementId,
  valueDigest,
  verifyStatement,
} from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import { forEachSlice, type KeyRange, type Reader, type Store, StoreError } from '../store/store.ts';
import { NodeError } from './errors.ts';
import { FIRST_READ, MAX_CLAIM_SCAN, MAX_ORIGIN_SCAN, MAX_PAGE, MAX_PAGE_BYTES, MAX_SCANNED } from './limits.ts';
import { type MergedRow, MergedScan } from './merge.ts';
import type { PageCursors } from './page-cursor.ts';
import { type Moment, readFacts } from './reader.ts';
import { isBarred } from './records.ts';
import type { GardenService } from './services.ts';
import type { CidCheck, ClaimSummary, FactPage, FactQuery, FactView, Include, Provenance } from './types.ts';
import { valueSubject } from './view-table.ts';

export interface QueriesComponents {
  readonly store: Store;
  readonly gardens: GardenService;
  readonly cursors: PageCursors;
  readonly moment: () => Moment;
  /** Newest committed sequence. */
  readonly head: () => number;
  /** Brings the stored view up to the present before a read (facts that expired since the last write). */
  readonly settle: () => Promise<void>;
  readonly keyOfOrigin: (peerId: string) => KeyObject;
}

/** A query with its texts normalised and its rights resolved. */
interface Prepared {
  readonly filter: (fact: FactView) => boolean;
  readonly ranges: readonly KeyRange[];
  readonly toRow: (key: Buffer, value: Buffer) => MergedRow;
  /** Where a page continues below a position, in each range. */
  readonly below: (range: KeyRange, order: Buffer) => KeyRange;
  /** Whether every row names a fact; the sequence names other statements, and ones that were quarantined. */
  readonly isIndexed: boolean;
}

const indexRow = (key: Buffer): MergedRow => ({
  order: keys.orderBytes(key),
  digest: Buffer.from(key.subarray(key.length - keys.DIGEST_BYTES)),
});

/** Reads of the current view and of single facts. Every answer holds only what the principal may see. */
export class Queries {
  readonly #components: QueriesComponents;

  constructor(components: QueriesComponents) {
    this.#components = components;
  }

  /** @throws FactError, NodeError (`invalid_query`, `invalid_cursor`, `permission_denied`, `garden_*`) */
  async query(who: Principal, query: FactQuery): Promise<FactPage> {
    assertMayRead(who);
    assertPageLimit(query.limit);
    const { store, cursors, head, settle } = this.#components;
    await settle();
    const newest = head();
    const name = queryName(query);
    const position = query.cursor === undefined ? undefined : cursors.decode(name, query.cursor);
    const prepared = this.#prepare(who, query);
    const snapshot = store.snapshot();
    const ranges = position ? prepared.ranges.map((range) => prepared.below(range, position.order)) : prepared.ranges;
    const scan = new MergedScan(snapshot, ranges, prepared.toRow);
    try {
      const facts: FactView[] = [];
      let last: MergedRow | undefined;
      let ended = false;
      let leftover = false;
      let bytes = 0;
      let bytesRead = 0;
      const isFull = () => facts.length === query.limit || bytes >= MAX_PAGE_BYTES;
      for (let scanned = 0; !ended && !isFull() && scanned < MAX_SCANNED; ) {
        const fitting = scanned === 0 ? FIRST_READ : Math.ceil((MAX_PAGE_BYTES * scanned) / (bytesRead + 1));
        const want = Math.max(Math.min(query.limit - facts.length, fitting), MIN_READ);
        const rows = await scan.next(want);
        ended = rows.length < want;
        scanned += rows.length;
        const digests = rows.map(({ digest }) => digest);
        const found = await readFacts(snapshot, digests, this.#components.moment());
        for (const fact of found) bytesRead += fact?.size ?? 0;
        for (const [at, row] of rows.entries()) {
          leftover = isFull();
          if (leftover) break;
          last = row;
          const fact = found[at];
          if (!fact && prepared.isIndexed) throw danglingIndex();
          if (!fact || !prepared.filter(fact)) continue;
          facts.push(fact);
          bytes += fact.size;
        }
      }
      // A page that filled exactly where its rows ended looks one further; one that scanned its fill has more to scan.
      const more = leftover || (!ended && (!isFull() || (await scan.next(1)).length > 0));
      return {
        facts,
        cursor: more && last ? cursors.encode(name, { order: last.order, head: newest }) : null,
        head: cursors.encode('head', { order: Buffer.alloc(0), head: newest }),
      };
    } finally {
      await scan.close();
      await snapshot.close();
    }
  }

  /** Statement CID, or a name of a claim: the newest visible statement that makes it. */
  async get(who: Principal, id: string): Promise<{ fact: FactView; claim: ClaimSummary }> {
    assertMayRead(who);
    await this.#components.settle();
    const snapshot = this.#components.store.snapshot();
    try {
      const fact = await this.#find(who, snapshot, id);
      return { fact, claim: await countClaim(snapshot, factDigest(fact.statement.body), this.#components.moment()) };
    } finally {
      await snapshot.close();
    }
  }

  async #find(who: Principal, reader: Reader, id: string): Promise<FactView> {
    const { form, digest } = parseCid(id);
    const fact =
      (form === 'cid' ? await this.#visible(who, reader, digest) : undefined) ??
      (await this.#newestOfClaim(who, reader, digest));
    if (!fact) throw notFound();
    return fact;
  }

  async provenance(who: Principal, id: string): Promise<Provenance> {
    const { fact } = await this.get(who, id);
    const snapshot = this.#components.store.snapshot();
    try {
      // One after the other, each name once: a list may name the same large claim hundreds of times.
      const known = new Map<string, FactView | undefined>();
      const derivedFrom: Provenance['derivedFrom'][number][] = [];
      for (const { hash, fact_id } of fact.statement.ext.derived_from ?? []) {
        let source: FactView | undefined;
        for (const name of [fact_id, hash]) {
          if (source !== undefined || typeof name !== 'string') continue;
          if (!known.has(name)) known.set(name, await this.#findVisible(who, snapshot, name));
          source = known.get(name);
        }
        derivedFrom.push({
          hash: typeof hash === 'string' ? hash : (source?.cid ?? ''),
          factId: source?.id ?? null,
          entity: source?.statement.body.entity ?? null,
          exists: source !== undefined,
        });
      }
      return { fact, derivedFrom };
    } finally {
      await snapshot.close();
    }
  }

  async verifyCid(who: Principal, id: string): Promise<CidCheck> {
    const { fact } = await this.get(who, id);
    const digest = sha256(canonicalBytes(fact.statement as unknown as JsonValue));
    const computedCid = sha256Name(factDigest(fact.statement.body));
    const statementCid = statementId(digest);
    const key = this.#components.keyOfOrigin(fact.statement.origin);
    const cidValid = computedCid === fact.cid && statementCid === fact.id;
    return {
      cidValid,
      computedCid,
      storedCid: fact.cid,
      mismatchReason: cidValid ? null : 'stored_cid does not match computed_cid',
      signatureValid: await verifyStatement(digest, fact.signature, key).then(
        () => true,
        () => false,
      ),
      statementCid,
    };
  }

  /** Whether a principal may see a fact: its scope is among the key's, and its garden among those it may read. */
  maySee(who: Principal, fact: FactView): boolean {
    const { body, ext } = fact.statement;
    if (!who.scopes.has(body.scope)) return false;
    return ext.garden_id === undefined || this.#components.gardens.mayRead(who, ext.garden_id);
  }

  #prepare(who: Principal, query: FactQuery): Prepared {
    const garden = query.garden === undefined ? undefined : this.#components.gardens.resolve(query.garden);
    if (garden && !this.#components.gardens.mayRead(who, garden.garden_id)) {
      throw new NodeError('garden_forbidden', 'not a member of this garden', 'ask an admin of the garden to add you');
    }
    const entity = query.entity === undefined ? undefined : normalizeUri(query.entity);
    const source = query.source === undefined ? undefined : normalizeUri(query.source, 'source');
    const relation = query.relation === undefined ? undefined : normalizeRelation(query.relation);
    const prefix = query.relationPrefix?.normalize('NFC');
    const value = query.value === undefined ? undefined : valueDigest(query.value);
    const after = query.after === undefined ? undefined : this.#after(query.after);
    const include = new Set<Include>(query.include ?? []);
    const minimum = query.minConfidence ?? 0;

    const filter = (fact: FactView): boolean => {
      const { body, ext, hlc, origin } = fact.statement;
      return (
        shows(include, fact) &&
        (entity === undefined || body.entity === entity) &&
        (relation === undefined || body.relation === relation) &&
        (prefix === undefined || body.relation.startsWith(prefix)) &&
        (source === undefined || body.source === source) &&
        (query.scope === undefined || body.scope === query.scope) &&
        (query.origin === undefined || origin === query.origin) &&
        (garden === undefined || ext.garden_id === garden.garden_id) &&
        (value === undefined || valueDigest(body.value) === value) &&
        body.confidence >= minimum &&
        (after?.hlc === undefined || hlc > after.hlc) &&
        (after?.seq === undefined || fact.seq > after.seq) &&
        this.maySee(who, fact)
      );
    };
    if (after?.seq !== undefined) return sequencePlan(filter, after.seq, this.#components.head());
    const [index, subjects] = choose({
      entity,
      relation,
      prefix,
      source,
      value,
      scopes: this.#scopes(who, query.scope),
    });
    const statuses: keys.Status[] = [keys.STATUS.current];
    if (include.has('losing') || include.has('history')) statuses.push(keys.STATUS.losing);
    if ([...include].some((what) => what !== 'losing' && what !== 'quarantined')) statuses.push(keys.STATUS.dead);
    if (include.has('quarantined')) statuses.push(keys.STATUS.barred);
    const ranges = statuses.flatMap((status) =>
      subjects.map((of) => {
        const range = keys.indexRange(index, status, of);
        return after?.hlc === undefined ? range : { ...range, gte: keys.indexKeyAtHlc(index, status, of, after.hlc) };
      }),
    );
    const below = (range: KeyRange, order: Buffer): KeyRange => ({
      gte: range.gte,
      lt: Buffer.concat([Buffer.from(range.gte).subarray(0, INDEX_PREFIX_BYTES), order]),
    });
    return { filter, ranges, toRow: indexRow, below, isIndexed: true };
  }

  #scopes(who: Principal, scope: FactScope | undefined): FactScope[] {
    return SCOPES.filter((one) => who.scopes.has(one) && (scope === undefined || scope === one));
  }

  #after(text: string): { hlc?: string; seq?: number } {
    if (isHlc(text)) return { hlc: text };
    if (/^\d{4}-/.test(text)) return { hlc: endOfInstant(parseInstant(text, 'after')) };
    const { cursors } = this.#components;
    try {
      return { seq: cursors.decode('head', text).head };
    } catch {
      throw new NodeError(
        'invalid_query',
        'after is neither a head token, nor an HLC, nor an RFC 3339 instant',
        "give the 'head' of an earlier page, or a timestamp with offset",
      );
    }
  }

  async #visible(who: Principal, reader: Reader, digest: Digest): Promise<FactView | undefined> {
    const [fact] = await readFacts(reader, [digest], this.#components.moment());
    if (!fact || !who.scopes.has(fact.statement.body.scope)) return undefined;
    if (!this.maySee(who, fact)) {
      throw new NodeError('garden_forbidden', 'not a member of this garden', 'ask an admin of the garden to add you');
    }
    return fact;
  }

  async #newestOfClaim(who: Principal, reader: Reader, claim: Digest): Promise<FactView | undefined> {
    const scan = new MergedScan(reader, [keys.claimRange(claim)], indexRow);
    try {
      let hidden = false;
      for (let scanned = 0; scanned < MAX_CLAIM_SCAN; ) {
        const rows = await scan.next(16);
        if (rows.length === 0) break;
        scanned += rows.length;
        const facts = await readFacts(
          reader,
          rows.map(({ digest }) => digest),
          this.#components.moment(),
        );
        for (const fact of facts) {
          // Who wants to see what does not count, has to name it by its own name.
          if (!fact || isBarred(fact.state)) continue;
          if (this.maySee(who, fact)) return fact;
          hidden ||= who.scopes.has(fact.statement.body.scope);
        }
      }
      if (hidden) {
        throw new NodeError('garden_forbidden', 'not a member of this garden', 'ask an admin of the garden to add you');
      }
      return undefined;
    } finally {
      await scan.close();
    }
  }

  /** What the reader may not see is, to this reader, not there. */
  async #findVisible(who: Principal, reader: Reader, name: string): Promise<FactView | undefined> {
    try {
      return await this.#find(who, reader, name);
    } catch (error) {
      if (error instanceof NodeError || error instanceof FactError) return undefined;
      throw error;
    }
  }
}

/** Rows read at a time at least: a filter may drop some, and each read costs a hop to a thread. */
const MIN_READ = 16;

/** Tag, status and subject: what an index key has before its order bytes. */
const INDEX_PREFIX_BYTES = 1 + 1 + 16;

/** The most selective index for what a query names, and the subjects to read in it. */
function choose(by: {
  entity: string | undefined;
  relation: string | undefined;
  prefix: string | undefined;
  source: string | undefined;
  value: string | undefined;
  scopes: readonly FactScope[];
}): [keys.IndexName, Buffer[]] {
  if (by.entity !== undefined && by.relation !== undefined) {
    return ['pair', [keys.subject(`${by.entity}\0${by.relation}`)]];
  }
  if (by.entity !== undefined) return ['entity', [keys.subject(by.entity)]];
  if (by.value !== undefined) return ['value', [valueSubject(by.value)]];
  if (by.source !== undefined) return ['source', [keys.subject(by.source)]];
  if (by.relation !== undefined) return ['relation', [keys.subject(by.relation)]];
  if (by.prefix?.includes(':')) return ['namespace', [keys.subject(relationNamespace(by.prefix))]];
  return ['scope', by.scopes.map(keys.scopeSubject)];
}

/** What came after a commit, newest first: read from the sequence, whose length past `after` bounds the work. */
function sequencePlan(filter: Prepared['filter'], after: number, head: number): Prepared {
  return {
    filter,
    ranges: [keys.sequenceRange(after + 1, head + 1)],
    toRow: (key, value) => ({ order: Buffer.from(key.subarray(1)), digest: keys.sequenceDigest(value) }),
    below: (range, order) => ({ gte: range.gte, lt: Buffer.concat([Buffer.from(range.gte).subarray(0, 1), order]) }),
    isIndexed: false,
  };
}

/** An index that names what the log does not hold: the answer would silently lack a fact. */
function danglingIndex(): StoreError {
  return new StoreError(
    'store_corrupt',
    'an index names a fact that the log does not hold',
    "stop the daemon; run 'stigmesh verify' to see what the log lost, and 'stigmesh reindex' to mend the index",
  );
}

/** Which states a query shows beside the current ones. */
function shows(include: ReadonlySet<Include>, fact: FactView): boolean {
  switch (fact.state) {
    case 'current':
      return true;
    case 'losing':
    case 'dispute':
      return include.has('losing') || include.has('history');
    case 'expired':
      return include.has('expired') || include.has('history');
    case 'superseded':
      return include.has('superseded') || include.has('history');
    case 'retracted':
    case 'retraction':
      return include.has('retracted') || include.has('history');
    case 'quarantined':
    case 'revoked':
      return include.has('quarantined');
  }
}

/** Statements are counted by their keys; their origins are read from the first ones, a few records at a time. */
async function countClaim(reader: Reader, claim: Digest, moment: Moment): Promise<ClaimSummary> {
  const digests: Digest[] = [];
  await forEachSlice(reader, keys.claimRange(claim), (rows) => {
    for (const { key } of rows) digests.push(indexRow(key).digest);
    return digests.length < MAX_CLAIM_SCAN;
  });
  const origins = new Set<string>();
  const readable = digests.length === 1 ? 0 : Math.min(digests.length, MAX_ORIGIN_SCAN);
  for (let at = 0; at < readable; at += MIN_READ) {
    const facts = await readFacts(reader, digests.slice(at, Math.min(at + MIN_READ, readable)), moment);
    for (const fact of facts) if (fact) origins.add(fact.statement.origin);
  }
  return { statements: digests.length, origins: Math.max(1, origins.size) };
}

/** Everything that shapes the answer but where in it a page begins and how long it is. */
function queryName({ cursor: _cursor, limit: _limit, ...query }: FactQuery): string {
  return JSON.stringify(
    Object.entries(query)
      .filter(([, value]) => value !== undefined)
      .sort(),
  );
}

export function assertMayRead(who: Principal): void {
  if (!who.permissions.has('read')) {
    throw new NodeError('permission_denied', 'read permission required', "use a key with permission 'read'");
  }
}

export function assertPageLimit(limit: number): void {
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_PAGE) return;
  throw new NodeError('invalid_query', `limit must be from 1 to ${MAX_PAGE}`, 'ask for fewer and follow the cursor');
}

export function notFound(): NodeError {
  return new NodeError('fact_not_found', 'fact not found', 'check the id; it may be in a scope this key cannot read');
}
