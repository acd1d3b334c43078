import { setImmediate as nextTurn } from 'node:timers/promises';
import { sha256 } from '../facts/cid.ts';
import {
  type EncodedStatement,
  encodeStatement,
  type FactBody,
  FactError,
  type FactExt,
  type FactScope,
  type FactStatement,
  factDigest,
  formatHlc,
  formatInstant,
  type HybridLogicalClock,
  normalizeBody,
  normalizeExt,
  parseCid,
  type ResolutionStatement,
  relationWarnings,
  statementId,
  uriWarnings,
  valueDigest,
} from '../facts/index.ts';
import type { EntryState } from '../facts/view.ts';
import type { Principal } from '../policy/principal.ts';
import { sharingWarnings } from '../policy/sets.ts';
import type { Store } from '../store/store.ts';
import { type Admission, termsDigest } from './admission.ts';
import { NodeError } from './errors.ts';
import { Idempotency } from './idempotency.ts';
import { LARGE_KEY, MAX_IDEMPOTENCY_KEY, PREPARE_SLICE } from './limits.ts';
import { notFound } from './queries.ts';
import { type Moment, readFacts, StoredFact } from './reader.ts';
import { isLive, type StoredEntry } from './records.ts';
import type { GardenService } from './services.ts';
import { assertTargets, type TargetComponents } from './targets.ts';
import type { AssertInput, AssertResult, BatchInput, BatchItem, BatchResult, FactView, RetractInput } from './types.ts';
import type { Key, KeyState, ViewTable } from './view-table.ts';
import type { Group, Writer } from './writer.ts';

export interface CommandsComponents {
  readonly store: Store;
  readonly views: ViewTable;
  readonly writer: Writer;
  readonly admission: Admission;
  readonly clock: HybridLogicalClock;
  readonly gardens: GardenService;
  readonly moment: () => Moment;
}

export interface CommandsInit {
  readonly peerId: string;
  readonly org: string;
  /** Most facts in one batch. */
  readonly maxBatch: number;
}

/** A write that passed every check that does not need the writer's turn. */
interface Checked {
  readonly body: FactBody;
  readonly ext: FactExt;
  readonly warnings: readonly string[];
}

/** What stating a fact came to. */
interface Stated {
  /** Statement CID. */
  readonly id: string;
  readonly digest: Uint8Array;
  readonly created: boolean;
  /** The new fact as it stands in the group, once that is durable; absent for one that was there before. */
  readonly read?: () => FactView;
}

/** Value of a retraction that names none: no fact states it, so every value of the org on the key is meant. */
const UNNAMED_VALUE = { type: 'string', v: 'stigmem:retracted' } as const;

/** Characters of a value that fit a statement beside the longest of everything else, even if each needs six bytes. */
const SURELY_ENCODABLE = 8192;

/** Commands that write: each is checked, then stated in the writer's turn, then answered once it is durable. */
export class Commands {
  readonly #components: CommandsComponents;
  readonly #init: CommandsInit;
  readonly #idempotency: Idempotency;
  readonly #targets: TargetComponents;

  constructor(components: CommandsComponents, init: CommandsInit) {
    this.#components = components;
    this.#init = init;
    this.#idempotency = new Idempotency({ store: components.store });
    this.#targets = { store: components.store, gardens: components.gardens, org: init.org };
  }

  /** @throws FactError, NodeError, StoreError */
  async assert(
    who: Principal,
    input: AssertInput,
    options: { readonly idempotencyKey?: string | undefined } = {},
  ): Promise<AssertResult> {
    const checked = this.#check(who, input);
    const { idempotencyKey } = options;
    const request = idempotencyKey === undefined ? NO_REQUEST : requestDigest(input);
    const { fact, created } = await this.#write(checked, async (group) => {
      const remembered = await this.#remembered(group, who, idempotencyKey, request);
      const id = remembered?.ids[0];
      if (id !== undefined) return { digest: parseCid(id).digest, id, created: false };
      await assertTargets(who, checked, this.#targets);
      const stated = await this.state(group, who, checked.body, checked.ext);
      this.#remember(group, who, idempotencyKey, request, [stated.id]);
      return stated;
    });
    const warnings = [...checked.warnings];
    if (!created && fact.overruled) {
      warnings.push(
        'this claim lost a conflict and stays hidden; resolve it again or supersede the winner to change that',
      );
    }
    return { fact, created, warnings };
  }

  /** Runs one write and answers with the fact as it stands once that is durable, without reading back what is known. */
  async #write(
    checked: Checked,
    prepare: (group: Group) => Promise<Stated>,
  ): Promise<{ fact: FactView; created: boolean }> {
    let fresh: FactView | undefined;
    const { digest, created } = await this.#components.writer.submit(
      1,
      async (group) => {
        const stated = await prepare(group);
        if (stated.read) {
          group.afterCommit.push(() => {
            fresh = stated.read!();
          });
        }
        return stated;
      },
      [keyFor(checked)],
    );
    return { fact: fresh ?? (await this.#read(digest)), created };
  }

  async assertBatch(who: Principal, input: BatchInput): Promise<BatchResult> {
    this.assertMayWrite(who);
    if (input.facts.length > this.#init.maxBatch) {
      throw new NodeError(
        'batch_too_large',
        `${input.facts.length} facts, the limit is ${this.#init.maxBatch}`,
        'send several batches',
      );
    }
    const { facts, atomic } = input;
    const request = input.idempotencyKey === undefined ? NO_REQUEST : requestDigest({ facts, atomic });
    const checked: (Checked | BatchItem)[] = [];
    for (const [at, fact] of input.facts.entries()) {
      if (at % PREPARE_SLICE === PREPARE_SLICE - 1) await nextTurn();
      checked.push(refusable(() => this.#check(who, fact)));
    }
    const refused = (item: Checked | BatchItem): item is BatchItem => 'status' in item;

    return this.#components.writer.submit(
      input.facts.length,
      async (group) => {
        const remembered = await this.#remembered(group, who, input.idempotencyKey, request);
        if (remembered) {
          const items = remembered.items;
          return { ...tally(items), items, replayed: true };
        }
        const ready: (Checked | BatchItem)[] = [];
        for (const item of checked) {
          ready.push(refused(item) ? item : await refusableAsync(item, () => assertTargets(who, item, this.#targets)));
        }
        if (input.atomic && ready.some(refused))
          return allRefused(ready.map((item) => (refused(item) ? item : undefined)));
        const items: BatchItem[] = [];
        for (const [at, item] of ready.entries()) {
          if (at % PREPARE_SLICE === PREPARE_SLICE - 1) await nextTurn();
          if (refused(item)) {
            items.push(item);
            continue;
          }
          try {
            const { id, created } = await this.state(group, who, item.body, item.ext);
            items.push({ status: created ? 'created' : 'exists', factId: id, warnings: item.warnings });
          } catch (error) {
            // A statement that is refused has changed nothing yet; those before it have.
            if (input.atomic) throw error;
            items.push(refusal(error));
          }
        }
        this.#remember(group, who, input.idempotencyKey, request, [], items);
        return { ...tally(items), items, replayed: false };
      },
      checked.flatMap((item) => (refused(item) ? [] : [keyFor(item)])),
    );
  }

  /**
   * States confidence 0 on a key: retracts this org's earlier statements there, of one value or of all.
   *
   * @throws NodeError `fact_not_found` when this org has nothing live there to retract
   */
  async retract(who: Principal, input: RetractInput): Promise<AssertResult> {
    const { value = UNNAMED_VALUE, ...rest } = input;
    const checked = this.#check(who, { ...rest, value: { ...value }, confidence: 0 });
    const { fact, created } = await this.#write(checked, async (group) => {
      const state = await this.#components.views.load(keyFor(checked));
      const named = input.value === undefined ? undefined : valueDigest(checked.body.value);
      if (!this.#ownLive(state, group.now, named)) throw notFound();
      return this.state(group, who, checked.body, checked.ext);
    });
    return { fact, created, warnings: checked.warnings };
  }

  /**
   * States a normalised fact in the writer's turn. Idempotent (facts.md, Writing): the same claim on the same terms, live
   * and of this org, is not stated again.
   */
  async state(group: Group, who: Principal, body: FactBody, ext: FactExt): Promise<Stated> {
    const draft = this.#draft({ body, ext });
    const state = await this.#components.views.load(keyFor(draft));
    // A batch on one large key may need its view for every item.
    if (state.entries.size >= LARGE_KEY) await nextTurn();
    const existing = this.#same(state, draft, group.now);
    if (existing !== undefined && !ext.supersedes) {
      const digest = Buffer.from(existing, 'hex');
      return { id: statementId(digest), digest, created: false };
    }
    const statement = { ...this.envelope('fact', body.scope, group.now), kind: 'fact' as const, body, ext };
    const { digest, ...encoded } = encodeStatement(statement);
    const record = await this.#components.admission.admit(group, { ...encoded, digest }, { via: 'local' }, who);
    const id = Buffer.from(digest).toString('hex');
    const read = (): FactView =>
      new StoredFact(statement, digest, record!, state.entries.get(id)!, {
        ...this.#components.moment(),
        now: group.now,
      });
    return { id: statementId(digest), digest, created: true, read };
  }

  /** Adds a statement made by this node in the writer's turn. */
  async add(
    group: Group,
    who: Principal,
    encoded: EncodedStatement<FactStatement | ResolutionStatement>,
  ): Promise<void> {
    await this.#components.admission.admit(group, encoded, { via: 'local' }, who);
  }

  /** The members every statement of this node begins with; takes the next reading of the clock. */
  envelope<K extends 'fact' | 'resolution'>(kind: K, audience: FactScope, now: number) {
    const { peerId, org } = this.#init;
    const hlc = this.#components.clock.tick();
    return { v: 1 as const, kind, origin: peerId, org, audience, hlc, timestamp: formatInstant(now) };
  }

  assertMayWrite(who: Principal): void {
    if (!who.permissions.has('write')) {
      throw new NodeError('permission_denied', 'write permission required', "use a key with permission 'write'");
    }
  }

  /** @throws NodeError `scope_denied`, `garden_forbidden` */
  assertScope(who: Principal, scope: FactScope, garden: string | undefined): void {
    if (!who.scopes.has(scope)) {
      throw new NodeError(
        'scope_denied',
        `this key may not write scope '${scope}'`,
        'use a key whose scopes include it',
      );
    }
    if (garden !== undefined) this.#components.gardens.assertMayWrite(who, this.#components.gardens.resolve(garden));
  }

  #check(who: Principal, input: AssertInput): Checked {
    this.assertMayWrite(who);
    const { entity, relation, value, source, confidence, scope } = input;
    const body = normalizeBody({
      entity,
      relation,
      value: { type: value.type, v: value.v },
      source,
      confidence,
      scope,
    });
    if (/^stigmem:(?:conflict|resolution):/.test(body.entity)) {
      throw new NodeError(
        'reserved_entity',
        'conflicts and resolutions are derived, nobody asserts them',
        'resolve a conflict with POST /v1/conflicts/{id}/resolve',
      );
    }
    const garden = input.garden_id ? this.#components.gardens.resolve(input.garden_id) : undefined;
    if (garden && garden.scope !== body.scope) {
      throw new NodeError(
        'garden_scope_mismatch',
        `scope mismatch: garden scope is '${garden.scope}' but fact scope is '${body.scope}'`,
        "send the garden's scope",
      );
    }
    this.assertScope(who, body.scope, garden?.garden_id);
    const ext = normalizeExt({
      valid_until: input.valid_until,
      garden_id: garden?.garden_id,
      derived_from: input.derived_from,
      interpret_as: value.interpret_as,
      supersedes: input.supersedes,
      basis: input.basis,
    });
    if (ext.interpret_as === 'instruction' && !who.permissions.has('instruction:write')) {
      throw new NodeError(
        'instruction_write_required',
        'writing instruction-typed facts requires instruction:write permission',
        "use a key with permission 'instruction:write'",
      );
    }
    this.#assertEncodable(body, ext);
    const warnings = [
      ...relationWarnings(body.relation),
      ...uriWarnings(body.entity, 'entity'),
      ...uriWarnings(body.source, 'source'),
      ...sharingWarnings(this.#init.org, body),
    ];
    return { body, ext, warnings };
  }

  /**
   * Whatever could make the encoder refuse is found before the writer's turn: half a batch must not be added by then.
   *
   * @throws FactError `statement_too_large`, `lone_surrogate`, `too_deep`
   */
  #assertEncodable(body: FactBody, ext: FactExt): void {
    const { v } = body.value;
    if (ext.derived_from === undefined && !(typeof v === 'string' && v.length > SURELY_ENCODABLE)) return;
    encodeStatement({ ...this.#draft({ body, ext }), hlc: formatHlc(0, 0), timestamp: formatInstant(0) });
  }

  /** A statement without its clock: enough to find its key and compare its claim and terms. */
  #draft({ body, ext }: Pick<Checked, 'body' | 'ext'>): FactStatement {
    const { peerId, org } = this.#init;
    return { v: 1, kind: 'fact', origin: peerId, org, audience: body.scope, hlc: '', timestamp: '', body, ext };
  }

  #same(state: KeyState, draft: FactStatement, now: number): string | undefined {
    if (state.entries.size === 0) return undefined;
    const claim = Buffer.from(factDigest(draft.body)).toString('hex');
    const terms = termsDigest(draft.ext);
    const candidates: StoredEntry[] = [];
    for (const entry of state.entries.values()) {
      if (entry.claim === claim && entry.terms === terms && this.#own(entry)) candidates.push(entry);
    }
    if (candidates.length === 0) return undefined;
    const { views } = this.#components;
    if (draft.body.confidence > 0) return candidates.find(({ id }) => views.isLive(state, id, now))?.id;
    const view = views.view(state, now);
    const stateOf = (id: string): EntryState => view.entries.get(id)!.state;
    // Said twice is said once only while the first still does all that the second would.
    const stated = valueDigest(draft.body.value);
    const entries = [...state.entries.values()];
    const everStated = entries.some((e) => this.#own(e) && e.confidence > 0 && e.value === stated);
    if (this.#ownLive(state, now, everStated ? stated : undefined)) return undefined;
    const denies = entries.some((e) => !this.#own(e) && e.value === stated && isLive(stateOf(e.id)));
    const wanted: EntryState[] = denies && !everStated ? ['dispute'] : ['dispute', 'retraction'];
    return candidates.find(({ id }) => wanted.includes(stateOf(id)))?.id;
  }

  /** Whether this org has a live statement on the key, of one value or of any. */
  #ownLive(state: KeyState, now: number, value: string | undefined): boolean {
    const view = this.#components.views.view(state, now);
    return [...state.entries.values()].some(
      (entry) =>
        this.#own(entry) && (value === undefined || entry.value === value) && isLive(view.entries.get(entry.id)!.state),
    );
  }

  #own(entry: StoredEntry): boolean {
    return entry.org === this.#init.org;
  }

  async #read(digest: Uint8Array): Promise<FactView> {
    const [fact] = await readFacts(this.#components.store, [digest], this.#components.moment());
    if (!fact) throw notFound();
    return fact;
  }

  #remembered(group: Group, who: Principal, key: string | undefined, request: Uint8Array) {
    if (key === undefined) return undefined;
    if (key === '' || key.length > MAX_IDEMPOTENCY_KEY) {
      throw new FactError(
        'invalid_value',
        `an idempotency key has 1 to ${MAX_IDEMPOTENCY_KEY} characters`,
        'use a UUID',
        'idempotency_key',
      );
    }
    return this.#idempotency.find(group, who.entity, key, request);
  }

  #remember(
    group: Group,
    who: Principal,
    key: string | undefined,
    request: Uint8Array,
    ids: readonly string[],
    items: readonly BatchItem[] = [],
  ): void {
    if (key !== undefined)
      this.#idempotency.remember(group, who.entity, key, { request: Buffer.from(request).toString('hex'), ids, items });
  }
}

function keyFor({ body: { entity, relation, scope }, ext }: Pick<Checked, 'body' | 'ext'>): Key {
  return { entity, relation, scope, garden: ext.garden_id };
}

/** Stands for the request where no idempotency key asks to compare it. */
const NO_REQUEST = new Uint8Array(0);

/** A retry sends the same bytes, so the order of members may count. */
function requestDigest(input: object): Uint8Array {
  return sha256(JSON.stringify(input));
}

function refusable<T>(check: () => T): T | BatchItem {
  try {
    return check();
  } catch (error) {
    return refusal(error);
  }
}

async function refusableAsync<T>(item: T, check: () => Promise<void>): Promise<T | BatchItem> {
  try {
    await check();
    return item;
  } catch (error) {
    return refusal(error);
  }
}

function refusal(error: unknown): BatchItem {
  if (!(error instanceof FactError || error instanceof NodeError)) throw error;
  return { status: 'error', error: { code: error.code, message: error.message, hint: error.hint } };
}

const NOT_APPLIED: BatchItem = {
  status: 'error',
  error: {
    code: 'batch_aborted',
    message: 'another fact of this atomic batch was refused',
    hint: 'mend that one and send all again',
  },
};

function allRefused(items: readonly (BatchItem | undefined)[]): BatchResult {
  return { accepted: 0, rejected: items.length, items: items.map((item) => item ?? NOT_APPLIED), replayed: false };
}

function tally(items: readonly BatchItem[]): { accepted: number; rejected: number } {
  const rejected = items.filter(({ status }) => status === 'error').length;
  return { accepted: items.length - rejected, rejected };
}
