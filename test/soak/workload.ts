import type { Random } from '../support/random.ts';
import type { Violations } from './check.ts';
import type { Fleet, Member } from './fleet.ts';
import { type Entry, type Ledger, mustShow, type Scope } from './ledger.ts';

/** One fact in so many is about something both sides of a pairing speak of, and contradicts what was said before. */
const CONTRADICTS = 0.08;
const EXPIRES = 0.1;
const EXPIRES_IN_MS = 8_000;
const OWN_ENTITIES = 400;
const REQUEST_MS = 15_000;

/** A contradiction under way: when both sides were stated, and who has to show them. */
export interface Dispute {
  readonly since: number;
  readonly entity: string;
  readonly marks: readonly string[];
  readonly members: readonly Member[];
}

/** Steady writes to whichever daemon answers at the moment. */
export class Workload {
  readonly #fleet: Fleet;
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #violations: Violations;
  /** Newest fact of each thing that several organisations speak of. */
  readonly #shared = new Map<string, Entry>();
  readonly disputes: Dispute[] = [];
  written = 0;
  unanswered = 0;

  constructor(fleet: Fleet, ledger: Ledger, random: Random, violations: Violations) {
    this.#violations = violations;
    this.#fleet = fleet;
    this.#ledger = ledger;
    this.#random = random;
  }

  /** One write. Never rejects: a daemon that is being killed leaves it in doubt. */
  async write(): Promise<void> {
    const random = this.#random;
    const awake = this.#fleet.members.filter(({ isAwake }) => isAwake);
    const writer = awake[random.below(awake.length)];
    if (!writer) return;
    const mark = this.#ledger.mark();
    const isShared = random.next() < CONTRADICTS;
    const isExpiring = !isShared && random.next() < EXPIRES;
    const scope: Scope = isShared ? 'public' : random.pick(['local', 'team', 'company', 'public', 'public'] as const);
    const entity = isShared
      ? `urn:soak:${random.below(Math.max(10, Math.floor(this.written / 40)))}`
      : `stigmem://${writer.org}/${scope}/${writer.name}-${isExpiring ? mark : random.below(OWN_ENTITIES)}`;
    const entry: Entry = {
      ...{ mark, entity, scope, writer, relation: 'memory:note', id: null, heard: new Map() },
      expiresAt: isExpiring ? Date.now() + EXPIRES_IN_MS : null,
      sentAt: performance.now(),
    };
    this.#ledger.add(entry);
    const id = await this.#post(entry);
    if (id === null) {
      this.unanswered += 1;
      return;
    }
    entry.id = id;
    this.written += 1;
    if (isShared) this.#dispute(entry);
  }

  async #post({ mark, entity, relation, scope, writer, expiresAt }: Entry): Promise<string | null> {
    try {
      const response = await writer.daemon!.fetch('/v1/facts', {
        method: 'POST',
        signal: AbortSignal.timeout(REQUEST_MS),
        json: {
          ...{ entity, relation, scope },
          value: { type: 'string', v: `${mark} ${'x'.repeat(this.#random.below(200))}` },
          source: `stigmem://${writer.org}/agent/${writer.name}`,
          ...(expiresAt === null ? {} : { valid_until: new Date(expiresAt).toISOString() }),
        },
      });
      const body = (await response.json()) as { id?: string };
      if (response.ok) return body.id ?? null;
      // 503: it is about to stop, and has not written it.
      if (response.status !== 503)
        this.#violations.add('a write was refused', `${writer.name}: ${response.status} ${JSON.stringify(body)}`);
      return null;
    } catch {
      return null;
    }
  }

  #dispute(entry: Entry): void {
    const before = this.#shared.get(entry.entity);
    this.#shared.set(entry.entity, entry);
    if (!before || before.writer.org === entry.writer.org) return;
    const marks = [before, entry].map(({ mark }) => mark);
    const members = this.#fleet.members.filter((member) =>
      [before, entry].every((one) => mustShow(this.#fleet, one, member)),
    );
    this.disputes.push({ since: entry.sentAt, entity: entry.entity, marks, members });
  }
}
