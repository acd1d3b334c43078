import {
  CONFLICT_PREFIX,
  cidText,
  type FactScope,
  type FactStatement,
  type FactValue,
  factDigest,
  formatInstant,
  isResolution,
  parseCid,
  type ResolutionStatement,
  sha256Name,
  stigmemDigest,
} from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import type { Store } from '../store/store.ts';
import type { Conflicts } from './conflicts.ts';
import { NodeError } from './errors.ts';
import { notFound, type Queries } from './queries.ts';
import type { Moment } from './reader.ts';
import { decodeLogRecord, type LogRecord, storedStatement } from './records.ts';
import type { ClaimSummary, ConflictRecord, FactPage, FactQuery, FactView } from './types.ts';

/** Source of what nobody said: this node derived it. */
const SYSTEM_SOURCE = 'system:stigmem';

interface Found {
  readonly fact: FactView;
  readonly claim: ClaimSummary;
}

export interface DerivedFactsComponents {
  readonly store: Store;
  readonly queries: Queries;
  readonly conflicts: Conflicts;
  readonly moment: () => Moment;
}

/**
 * Conflicts and resolutions in the shape of facts, for clients that look for them there (facts.md: `stigmem:conflict:between`,
 * `stigmem:conflict:status`). They are views of other records: never stored, never replicated, and not signed as facts.
 */
export class DerivedFacts {
  readonly #components: DerivedFactsComponents;

  constructor(components: DerivedFactsComponents) {
    this.#components = components;
  }

  /** The two facts about a conflict, when a query asks for its entity; undefined when it asks for something else. */
  async query(who: Principal, query: FactQuery): Promise<FactPage | undefined> {
    const { queries, conflicts } = this.#components;
    if (!query.entity?.startsWith(CONFLICT_PREFIX)) return undefined;
    const page = await queries.query(who, query);
    const record = await conflicts.get(who, query.entity).catch(notFoundIsNothing);
    const facts = record ? conflictFacts(record).filter((fact) => wanted(query, fact)) : [];
    return { ...page, facts: [...page.facts, ...facts].slice(0, query.limit) };
  }

  /** What `get` answers, or where it finds nothing the derived fact of that name. */
  async orElse(who: Principal, id: string, get: () => Promise<Found>): Promise<Found> {
    try {
      if (!id.startsWith(CONFLICT_PREFIX)) return await get();
    } catch (error) {
      if (!(error instanceof NodeError && error.code === 'fact_not_found')) throw error;
    }
    const fact = await this.#get(who, id);
    if (!fact) throw notFound();
    return { fact, claim: { statements: 1, origins: 1 } };
  }

  /** The fact a derived id names: `stigmem:conflict:…/between`, `…/status`, or the CID of a resolution. */
  async #get(who: Principal, id: string): Promise<FactView | undefined> {
    if (id.startsWith(CONFLICT_PREFIX)) {
      const [conflict = '', part] = id.split('/');
      const record = await this.#components.conflicts.get(who, conflict).catch(notFoundIsNothing);
      return record && conflictFacts(record).find((fact) => fact.id === `${conflict}/${part}`);
    }
    if (id.startsWith('sha256:')) return undefined;
    const { digest } = parseCid(id);
    const stored = await this.#components.store.get(keys.logKey(digest));
    const record = stored && decodeLogRecord(stored, digest);
    const statement = record && storedStatement(record);
    if (!record || !statement || !isResolution(statement)) return undefined;
    const fact = resolutionFact(id, statement, record, this.#components.moment());
    return this.#components.queries.maySee(who, fact) ? fact : undefined;
  }
}

function conflictFacts(record: ConflictRecord): FactView[] {
  const { factA, factB, id, status } = record;
  const { origin, org, hlc } = factA.statement;
  const { scope } = factA.statement.body;
  const { garden_id } = factA.statement.ext;
  const facts: [string, FactValue][] = [
    ['between', { type: 'text', v: `${factA.id} ${factB.id}` }],
    ['status', { type: 'string', v: status }],
  ];
  return facts.map(([part, value]) =>
    view(
      `${id}/${part}`,
      { origin, org, hlc, scope, garden_id, timestamp: formatInstant(record.detectedAt) },
      { entity: id, relation: `stigmem:conflict:${part}`, value, source: SYSTEM_SOURCE },
      factA,
    ),
  );
}

function resolutionFact(id: string, statement: ResolutionStatement, record: LogRecord, moment: Moment): FactView {
  const { origin, org, hlc, timestamp, body, ext } = statement;
  const standing = moment.standingOf(statement, record.seq);
  const fact = view(
    id,
    { origin, org, hlc, scope: body.scope, garden_id: ext.garden_id, timestamp },
    {
      entity: `stigmem:resolution:${body.conflict}`,
      relation: 'stigmem:resolves',
      value: { type: 'ref', v: body.conflict },
      source: body.source,
    },
    {
      ...{ seq: record.seq, receivedAt: record.receivedAt, receivedFrom: record.receivedFrom, signature: record.sig },
      sourceRevoked: moment.isSourceRevoked(org, origin),
    },
  );
  return standing === 'good' ? fact : { ...fact, state: standing };
}

interface Frame {
  readonly origin: string;
  readonly org: string;
  readonly hlc: string;
  readonly timestamp: string;
  readonly scope: FactScope;
  readonly garden_id: string | undefined;
}

function view(
  id: string,
  { scope, garden_id, ...frame }: Frame,
  claim: Omit<FactStatement['body'], 'confidence' | 'scope'>,
  arrival: Pick<FactView, 'seq' | 'receivedAt' | 'receivedFrom' | 'sourceRevoked'> & {
    readonly signature?: Uint8Array;
  },
): FactView {
  const body = { ...claim, confidence: 1, scope };
  const digest = factDigest(body);
  return {
    id,
    cid: sha256Name(digest),
    cidV1: cidText(digest),
    stigmemCid: sha256Name(stigmemDigest(body)),
    statement: {
      v: 1,
      kind: 'fact',
      ...frame,
      audience: scope,
      body,
      ext: garden_id === undefined ? {} : { garden_id },
    },
    state: 'current',
    contradicted: false,
    overruled: false,
    validUntil: null,
    seq: arrival.seq,
    receivedAt: arrival.receivedAt,
    receivedFrom: arrival.receivedFrom,
    sourceRevoked: arrival.sourceRevoked,
    // A conflict is nobody's statement: only a resolution has a signature, and that over its own bytes.
    signature: id.startsWith(CONFLICT_PREFIX) ? new Uint8Array(0) : (arrival.signature ?? new Uint8Array(0)),
  };
}

function wanted(query: FactQuery, { statement }: FactView): boolean {
  const { relation, scope, source } = statement.body;
  return (
    (query.relation === undefined || query.relation === relation) &&
    (query.relationPrefix === undefined || relation.startsWith(query.relationPrefix)) &&
    (query.scope === undefined || query.scope === scope) &&
    (query.source === undefined || query.source === source)
  );
}

function notFoundIsNothing(error: unknown): undefined {
  if (error instanceof NodeError && error.code === 'conflict_not_found') return undefined;
  throw error;
}
