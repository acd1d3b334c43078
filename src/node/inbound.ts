import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Digest, type EncodedStatement, FactError, isManifest, sha256, statementId } from '../facts/index.ts';
import type { Pairing } from '../policy/sharing.ts';
import * as keys from '../store/keys.ts';
import type { Reader } from '../store/store.ts';
import type { Admission, Candidate } from './admission.ts';
import type { Arrival } from './authority.ts';
import { NodeError } from './errors.ts';
import type { InboundOutcome, WireStatement } from './federation.ts';
import { PREPARE_SLICE } from './limits.ts';
import type { Manifests } from './manifests.ts';
import type { InboundService } from './mesh-services.ts';
import { peerPrincipal } from './peer-terms.ts';
import type { Refusals } from './refusals.ts';
import type { Sets } from './sets.ts';
import { keyOf } from './view-table.ts';
import type { Warnings } from './warnings.ts';
import { stopping, type Writer } from './writer.ts';

export interface InboundComponents {
  readonly store: Reader;
  readonly admission: Admission;
  readonly writer: Writer;
  readonly sets: Sets;
  readonly manifests: Manifests;
  readonly refusals: Refusals;
  readonly warnings: Warnings;
}

/** What may be accepted later as it is: a clock that runs ahead, a manifest we lack, room we do not have. */
const RETRYABLE: ReadonlySet<string> = new Set([
  'hlc_ahead',
  'unknown_org',
  'manifest_expired',
  'quarantine_full',
  'too_many_sets',
  'origin_rejected',
]);

type PeerArrival = Extract<Arrival, { via: 'peer' }>;

/** A statement of a batch, as far as it has come. */
type Item =
  | { readonly is: 'opened'; readonly encoded: EncodedStatement; readonly sig: Uint8Array }
  | { readonly is: 'checked'; readonly candidate: Candidate }
  | { readonly is: 'done'; readonly outcome: InboundOutcome };

/** The one way in for statements of peers: through the same door as all others, a batch in one turn of the writer. */
export class Inbound implements InboundService {
  readonly #components: InboundComponents;

  constructor(components: InboundComponents) {
    this.#components = components;
  }

  refused(peerId: string): Readonly<Record<string, number>> {
    return this.#components.refusals.of(peerId);
  }

  async admit(
    { peerId, pairing, only, now = () => pairing }: Parameters<InboundService['admit']>[0],
    statements: readonly WireStatement[],
  ): Promise<InboundOutcome[]> {
    const { sets } = this.#components;
    if (!sets.isReady) await this.#indexed();
    const arrival: PeerArrival = { via: 'peer', peerId, pairing, only };
    const opened = await this.#open(statements, arrival);
    await this.#knownAlready(opened);
    const checked = await this.#inspect(opened, arrival);
    const outcomes = await this.#commit(checked, arrival, now);
    this.#report(peerId, outcomes, opened);
    return outcomes;
  }

  /** Limits and quarantine are counted over what is held, which has to be known first. */
  async #indexed(): Promise<void> {
    const { sets } = this.#components;
    if (sets.failure !== undefined) throw new NodeError('busy', 'the sets could not be loaded', 'retry in a moment');
    await sets.ready;
    if (!sets.isReady) throw stopping();
  }

  /** Form, and whether it may come from this peer at all. */
  async #open(statements: readonly WireStatement[], arrival: PeerArrival): Promise<Item[]> {
    const items: Item[] = [];
    for (const [at, { bytes, sig }] of statements.entries()) {
      if (at % PREPARE_SLICE === PREPARE_SLICE - 1) await nextTurn();
      try {
        items.push({ is: 'opened', encoded: this.#components.admission.open(bytes, arrival), sig });
      } catch (error) {
        items.push(refusal(error, error instanceof FactError ? null : sha256(bytes)));
      }
    }
    return items;
  }

  /** What is held already is no news, whoever signed it, and costs no more than this look. */
  async #knownAlready(items: Item[]): Promise<void> {
    const open = items.flatMap((item, at) => (item.is === 'opened' ? [{ at, digest: item.encoded.digest }] : []));
    const held = await this.#components.store.getMany(open.map(({ digest }) => keys.logKey(digest)));
    for (const [i, { at, digest }] of open.entries()) {
      if (held[i]) items[at] = { is: 'done', outcome: { status: 'duplicate', digest } };
    }
  }

  /** Authority and signatures, a slice side by side. */
  async #inspect(items: readonly Item[], arrival: PeerArrival): Promise<Item[]> {
    const { admission } = this.#components;
    const arriving = new Set<string>();
    for (const item of items) {
      if (item.is === 'opened' && isManifest(item.encoded.statement)) arriving.add(item.encoded.statement.org);
    }
    const inspect = async (item: Item): Promise<Item> => {
      if (item.is !== 'opened') return item;
      try {
        return { is: 'checked', candidate: await admission.inspect(item.encoded, item.sig, arrival, arriving) };
      } catch (error) {
        return refusal(error, item.encoded.digest);
      }
    };
    const checked: Item[] = [];
    for (let at = 0; at < items.length; at += PREPARE_SLICE) {
      checked.push(...(await Promise.all(items.slice(at, at + PREPARE_SLICE).map(inspect))));
      await nextTurn();
    }
    return checked;
  }

  /** Manifests first: what follows them in the batch may need them. */
  async #commit(
    items: readonly Item[],
    { peerId, only }: PeerArrival,
    now: () => Pairing | undefined,
  ): Promise<InboundOutcome[]> {
    const { writer, admission } = this.#components;
    const candidates = items.flatMap((item) => (item.is === 'checked' ? [item.candidate] : []));
    const outcomes = new Map<Candidate, InboundOutcome>();
    const who = peerPrincipal(peerId);
    if (candidates.length > 0) {
      const manifestsFirst = candidates.toSorted((a, b) => rank(a) - rank(b));
      const views = candidates.flatMap(({ statement }) => keyOf(statement) ?? []);
      await writer.submit(
        candidates.length,
        async (group) => {
          // Our operator may have decided otherwise while it was checked and waited for its turn.
          const pairing = now();
          if (!pairing) {
            for (const candidate of candidates) outcomes.set(candidate, notActive(candidate.digest));
            return;
          }
          const arrival: PeerArrival = { via: 'peer', peerId, pairing, only };
          for (const [at, candidate] of manifestsFirst.entries()) {
            if (at % PREPARE_SLICE === PREPARE_SLICE - 1) await nextTurn();
            const { digest } = candidate;
            try {
              const added = await admission.admit(group, candidate, arrival, who);
              outcomes.set(candidate, { status: added ? 'accepted' : 'duplicate', digest });
            } catch (error) {
              const { outcome } = refusal(error, digest);
              outcomes.set(candidate, outcome);
            }
          }
        },
        views,
      );
    }
    return items.map((item) => {
      if (item.is === 'checked') return outcomes.get(item.candidate)!;
      if (item.is === 'done') return item.outcome;
      throw new TypeError('a statement was opened and not looked at');
    });
  }

  #report(peerId: string, outcomes: readonly InboundOutcome[], items: readonly Item[]): void {
    const { refusals, manifests, warnings } = this.#components;
    const byCode = new Map<string, { count: number; at: number }>();
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.status !== 'refused') continue;
      const seen = byCode.get(outcome.code);
      if (seen) seen.count += 1;
      else byCode.set(outcome.code, { count: 1, at });
    }
    for (const [code, { count, at }] of byCode) {
      const item = items[at]!;
      const encoded = item.is === 'opened' ? item.encoded : undefined;
      const detail = encoded
        ? { statement: statementId(encoded.digest), org: encoded.statement.org, origin: encoded.statement.origin }
        : {};
      refusals.note({ type: 'statement_refused', peerId, code, count, detail });
      if (code === 'hlc_ahead' && encoded) {
        const { origin, org } = encoded.statement;
        warnings.add(
          `clock ${origin}`,
          `the clock of ${origin} (${org}) is ahead: what it states is refused meanwhile`,
        );
      }
      if (encoded && (code === 'rotation_unproven' || code === 'manifest_equivocation')) {
        refusals.note({ type: 'manifest_refused', peerId, code, count, detail });
        manifests.mistrust(encoded.statement.org, code);
      }
    }
  }
}

/** No fault of what was sent: it may come again once the peer is active. */
function notActive(digest: Digest): InboundOutcome {
  return { status: 'refused', digest, code: 'peer_refused', retryable: true };
}

function rank({ statement }: Candidate): number {
  return isManifest(statement) ? 0 : 1;
}

/** @throws what is no refusal: a failure of ours is not the peer's */
function refusal(error: unknown, digest: Digest | null): Extract<Item, { is: 'done' }> {
  if (!(error instanceof FactError || error instanceof NodeError)) throw error;
  const { code } = error;
  if (code === 'busy' || code === 'stopping') throw error;
  return { is: 'done', outcome: { status: 'refused', digest, code, retryable: RETRYABLE.has(code) } };
}
