import type { z } from 'zod';
import { isResolution, normalizeRelation, normalizeUri, type ResolutionStatement } from '../../facts/index.ts';
import type { FactScope } from '../../facts/scope.ts';
import type { GardenService } from '../../node/services.ts';
import type { CommitEvent } from '../../node/types.ts';
import type { Principal } from '../../policy/principal.ts';
import type { ApiInit } from '../components.ts';
import type { eventQuery } from '../operations/index.ts';
import { factRecord } from '../wire.ts';

/** What a follower asked for, in normalised spelling. */
export interface EventFilter {
  readonly entity: string | undefined;
  readonly relation: string | undefined;
  readonly relationPrefix: string | undefined;
  readonly scope: FactScope | undefined;
  readonly source: string | undefined;
}

/** @throws FactError as a query with the same members would */
export function eventFilter(query: z.output<typeof eventQuery>): EventFilter {
  const isPrefix = query.relation?.endsWith('*') === true;
  return {
    entity: query.entity && normalizeUri(query.entity),
    relation: query.relation === undefined || isPrefix ? undefined : normalizeRelation(query.relation),
    relationPrefix: isPrefix ? query.relation?.slice(0, -1) : query.relation_prefix,
    scope: query.scope,
    source: query.source && normalizeUri(query.source, 'source'),
  };
}

/** What is asked for; unsaid, whoever filters commits wants commits alone. */
export function eventKinds(
  events: z.output<typeof eventQuery>['events'],
  filter: EventFilter,
): { readonly commits: boolean; readonly mesh: boolean } {
  if (events !== undefined) return { commits: events.includes('commits'), mesh: events.includes('mesh') };
  return { commits: true, mesh: Object.values(filter).every((term) => term === undefined) };
}

/** Name and data of one event. */
export interface WireEvent {
  readonly event: 'fact' | 'resolution';
  readonly data: object;
}

/**
 * Whether a follower sees a commit: not if it is of a kind that is no event, does not match, or is in a scope or garden that
 * the principal may not read.
 */
export function isVisible(
  { statement, fact, standing }: CommitEvent,
  filter: EventFilter,
  who: Principal,
  gardens: Pick<GardenService, 'mayRead'>,
): boolean {
  // What does not count is shown to whoever asks for it by name (`include=quarantined`), and pushed at nobody.
  if (standing !== 'good') return false;
  if (!who.scopes.has(statement.audience)) return false;
  if (fact === null && !isResolution(statement)) return false;
  const { body, ext } = fact?.statement ?? (statement as ResolutionStatement);
  if (ext.garden_id !== undefined && !gardens.mayRead(who, ext.garden_id)) return false;
  return (
    (filter.entity === undefined || body.entity === filter.entity) &&
    (filter.relation === undefined || body.relation === filter.relation) &&
    (filter.relationPrefix === undefined || body.relation.startsWith(filter.relationPrefix)) &&
    (filter.scope === undefined || body.scope === filter.scope) &&
    (filter.source === undefined || body.source === filter.source)
  );
}

/** A commit as everybody sees it who sees it at all. */
export function wireEvent(commit: CommitEvent, compatCid: ApiInit['compatCid']): WireEvent {
  const { statement, fact } = commit;
  if (fact !== null) return { event: 'fact', data: factRecord(fact, compatCid) };
  return { event: 'resolution', data: resolutionData(commit, statement as ResolutionStatement) };
}

function resolutionData({ id, seq }: CommitEvent, { body, ext, ...envelope }: ResolutionStatement): object {
  return {
    id,
    seq,
    conflict_id: body.conflict,
    entity: body.entity,
    relation: body.relation,
    scope: body.scope,
    garden_id: ext.garden_id ?? null,
    source: body.source,
    verdict: body.verdict,
    winning_fact_id: body.winning_fact,
    resolution_note: body.note,
    timestamp: envelope.timestamp,
    hlc: envelope.hlc,
    origin: envelope.origin,
    org: envelope.org,
  };
}
