import {
  CONFLICT_PREFIX,
  conflictIdBytes,
  encodeStatement,
  hlcWall,
  normalizeUri,
  normalizeValue,
  parseCid,
  type ResolutionStatement,
  statementId,
  valueDigest,
} from '../facts/index.ts';
import { MAX_NOTE_BYTES } from '../facts/limits.ts';
import type { ConflictView } from '../facts/view.ts';
import type { Principal } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import type { Reader, Store } from '../store/store.ts';
import type { Commands } from './commands.ts';
import { NodeError } from './errors.ts';
import { FIRST_READ, MAX_PAGE_BYTES, MAX_SCANNED } from './limits.ts';
import { MergedScan } from './merge.ts';
import type { PageCursors } from './page-cursor.ts';
import { assertMayRead, assertPageLimit, type Queries } from './queries.ts';
import { type Moment, readFacts } from './reader.ts';
import { fromJson, type StoredConflict } from './records.ts';
import type { ConflictPage, ConflictRecord, ConflictService, ResolveInput, ResolveResult } from './types.ts';
import type { KeyState, ViewTable } from './view-table.ts';
import type { Group, Writer } from './writer.ts';

export interface ConflictsComponents {
  readonly store: Store;
  readonly views: ViewTable;
  readonly writer: Writer;
  readonly queries: Queries;
  readonly commands: Commands;
  readonly cursors: PageCursors;
  readonly moment: () => Moment;
  readonly head: () => number;
  readonly settle: () => Promise<void>;
}

const conflictRow = (key: Buffer): { order: Buffer; digest: Buffer } => {
  const { order, id } = keys.conflictOrderOf(key);
  return { order, digest: id };
};

/** Conflicts read at a time, two facts each: about what is read of facts before their size is known. */
const READ_SLICE = FIRST_READ / 2;

/** Tag and status: what a conflict order key has before its order bytes. */
const ORDER_PREFIX_BYTES = 2;

/** Conflict records: derived from the current view, listed newest first, settled by signed resolutions. */
export class Conflicts implements ConflictService {
  readonly #components: ConflictsComponents;

  constructor(components: ConflictsComponents) {
    this.#components = components;
  }

  async list(
    who: Principal,
    query: { status?: 'unresolved' | 'resolved' | undefined; cursor?: string | undefined; limit: number },
  ): Promise<ConflictPage> {
    assertMayRead(who);
    assertPageLimit(query.limit);
    const { store, cursors, head, settle } = this.#components;
    await settle();
    const name = `conflicts ${query.status ?? ''}`;
    const position = query.cursor === undefined ? undefined : cursors.decode(name, query.cursor);
    const statuses = query.status === undefined ? (['unresolved', 'resolved'] as const) : [query.status];
    const snapshot = store.snapshot();
    const ranges = statuses.map(keys.conflictOrderRange).map((range) =>
      position
        ? {
            gte: range.gte,
            lt: Buffer.concat([Buffer.from(range.gte).subarray(0, ORDER_PREFIX_BYTES), position.order]),
          }
        : range,
    );
    const scan = new MergedScan(snapshot, ranges, conflictRow);
    try {
      const conflicts: ConflictRecord[] = [];
      let last: Buffer | undefined;
      let more = true;
      // One row beyond the page tells whether there is a next one.
      let bytes = 0;
      for (let scanned = 0; scanned < MAX_SCANNED && conflicts.length < query.limit && more; ) {
        if (bytes >= MAX_PAGE_BYTES) break;
        const rows = await scan.next(Math.min(query.limit - conflicts.length, READ_SLICE));
        more = rows.length > 0;
        scanned += rows.length;
        last = rows.at(-1)?.order ?? last;
        const ids = rows.map(({ digest }) => digest);
        const read = await this.#read(who, snapshot, ids);
        conflicts.push(...read.found);
        bytes += read.bytes;
      }
      more &&= (await scan.next(1)).length > 0;
      return { conflicts, cursor: more && last ? cursors.encode(name, { order: last, head: head() }) : null };
    } finally {
      await scan.close();
      await snapshot.close();
    }
  }

  async get(who: Principal, id: string): Promise<ConflictRecord> {
    assertMayRead(who);
    await this.#components.settle();
    const bytes = conflictIdBytes(id);
    const snapshot = this.#components.store.snapshot();
    try {
      const [record] = bytes ? (await this.#read(who, snapshot, [Buffer.from(bytes)])).found : [];
      if (!record) throw unknownConflict();
      return record;
    } finally {
      await snapshot.close();
    }
  }

  /**
   * Settles one conflict with a signed statement; with `new_value` a fact that states it is written along, in the same
   * commit.
   *
   * @throws NodeError `conflict_not_found`, `conflict_resolved`, `invalid_resolution`, `permission_denied`, `scope_denied`
   */
  async resolve(who: Principal, id: string, input: ResolveInput): Promise<ResolveResult> {
    const { commands, views, writer, store } = this.#components;
    commands.assertMayWrite(who);
    // Readers learn nothing here that the list would not tell them.
    await this.get(who, id);
    const bytes = Buffer.from(conflictIdBytes(id)!);
    const note = (input.resolution_note ?? '').toWellFormed();
    if (Buffer.byteLength(note) > MAX_NOTE_BYTES) {
      throw new NodeError('invalid_resolution', `resolution_note is longer than ${MAX_NOTE_BYTES} bytes`, 'shorten it');
    }
    return writer.submit(2, async (group) => {
      const stored = await store.get(keys.conflictKey(bytes));
      const state = stored && (await views.loadById(Buffer.from(fromJson<StoredConflict>(stored).k, 'hex')));
      const conflict = state && views.view(state, group.now).conflicts.find((one) => one.id === id);
      if (!state || !conflict) throw unknownConflict();
      if (conflict.resolvedBy !== null) {
        throw new NodeError(
          'conflict_resolved',
          'conflict already resolved',
          'state the right value again, or supersede the wrong one, to change the outcome',
        );
      }
      return this.#settle(group, who, state, conflict, { ...input, resolution_note: note });
    });
  }

  async #settle(
    group: Group,
    who: Principal,
    state: KeyState,
    conflict: ConflictView,
    input: ResolveInput,
  ): Promise<ResolveResult> {
    const { commands } = this.#components;
    const { entity, relation, scope, garden } = state.key;
    commands.assertScope(who, scope, garden);
    const { winning_fact_id: winning, new_value: newValue } = input;
    const verdict = input.verdict ?? 'winner';
    let winner: string | null = null;
    let winningFact: string | null = null;
    if (verdict === 'both_valid') {
      if (winning || newValue) {
        throw new NodeError('invalid_resolution', 'both_valid takes neither winner nor value', 'leave them out');
      }
    } else if (newValue) {
      const value = normalizeValue(newValue.type, newValue.v);
      const body = { entity, relation, value, source: normalizeUri(who.entity, 'source'), confidence: 1, scope };
      const ext = garden === undefined ? {} : { garden_id: garden };
      winner = valueDigest(value);
      winningFact = (await commands.state(group, who, body, ext)).id;
    } else if (winning) {
      const side = sideNamed(state, conflict, winning);
      winner = side.key;
      winningFact = statementId(Buffer.from(side.id, 'hex'));
    } else {
      throw new NodeError(
        'invalid_resolution',
        'provide winning_fact_id or new_value',
        'name one of the two, or send verdict both_valid',
      );
    }
    const resolution: ResolutionStatement = {
      ...commands.envelope('resolution', scope, group.now),
      kind: 'resolution',
      body: {
        conflict: conflict.id,
        entity,
        relation,
        scope,
        source: normalizeUri(who.entity, 'source'),
        verdict,
        sides: [conflict.a.key, conflict.b.key].sort(),
        winner,
        winning_fact: winningFact,
        note: input.resolution_note ?? '',
      },
      ext: garden === undefined ? {} : { garden_id: garden },
    };
    const encoded = encodeStatement(resolution);
    await commands.add(group, who, encoded);
    return { resolutionId: statementId(encoded.digest), winningFactId: winningFact };
  }

  /**
   * Records of the conflicts with these ids, without those the principal may not see both sides of; and the bytes of
   * all statements read for them.
   */
  async #read(
    who: Principal,
    reader: Reader,
    ids: readonly Buffer[],
  ): Promise<{ readonly found: ConflictRecord[]; readonly bytes: number }> {
    const records = await reader.getMany(ids.map(keys.conflictKey));
    const stored = records.map((record) => record && fromJson<StoredConflict>(record));
    const digests = stored.flatMap((one) => (one ? [Buffer.from(one.a, 'hex'), Buffer.from(one.b, 'hex')] : []));
    const facts = await readFacts(reader, digests, this.#components.moment());
    const { queries } = this.#components;
    const found: ConflictRecord[] = [];
    let at = 0;
    stored.forEach((one, index) => {
      if (!one) return;
      const factA = facts[at++];
      const factB = facts[at++];
      if (!factA || !factB || !queries.maySee(who, factA) || !queries.maySee(who, factB)) return;
      found.push({
        id: `${CONFLICT_PREFIX}${ids[index]!.toString('hex')}`,
        factA,
        factB,
        status: one.by === null ? 'unresolved' : 'resolved',
        resolvedBy: one.by === null ? null : statementId(Buffer.from(one.by, 'hex')),
        resolutions: one.all.map((by) => statementId(Buffer.from(by, 'hex'))),
        detectedAt: hlcWall(one.hlc),
      });
    });
    return { found, bytes: facts.reduce((sum, fact) => sum + (fact?.size ?? 0), 0) };
  }
}

/** The side of a conflict that an id names: its statement, its claim, or another live statement of the same value. */
function sideNamed(state: KeyState, conflict: ConflictView, name: string): ConflictView['a'] {
  const { digest } = parseCid(name);
  const hex = Buffer.from(digest).toString('hex');
  const value = state.entries.get(hex)?.value;
  for (const side of [conflict.a, conflict.b]) {
    if (side.id === hex || side.claim === hex || (value !== undefined && side.key === value)) return side;
  }
  throw new NodeError(
    'invalid_resolution',
    'winning_fact_id must be one of the conflicting facts',
    'use the id of fact_a or fact_b of this conflict',
  );
}

function unknownConflict(): NodeError {
  return new NodeError(
    'conflict_not_found',
    'conflict not found',
    'list the conflicts again: when a side changes, the conflict gets another id',
  );
}
