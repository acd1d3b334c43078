import {
  type FactBody,
  isFact,
  isFormalUri,
  isResolution,
  relationNamespace,
  type Statement,
  uriAuthority,
} from '../facts/index.ts';

/**
 * Who may hold a set (mesh.md, "Sets"). A garden's statements go no further than its organisation, nor does what is its
 * `own`: what it may say to itself alone.
 */
export const SET_AUDIENCES = ['team', 'company', 'public', 'garden', 'own'] as const;
export type SetAudience = (typeof SET_AUDIENCES)[number];

/** A set of statements that are shared together or not at all. */
export interface StatementSet {
  readonly audience: SetAudience;
  /** Authority of the organisation whose nodes sign its statements. */
  readonly org: string;
  /** Relation namespace; protocol statements are in `stigmem`. */
  readonly namespace: string;
  /** `<audience>/<org>/<namespace>`, for gardens `garden/<org>/<namespace>/<garden URI>`. */
  readonly name: string;
}

/** Namespace of what the protocol itself says: manifests, and every kind this version does not know. */
export const PROTOCOL_NAMESPACE = 'stigmem';

/**
 * The one set a statement belongs to, fixed by what is signed; null: no peer may ever hold it, nor learn that it exists.
 *
 * A claim about an entity in another organisation's namespace, and whatever names a source in one, stays within the
 * organisation that says so: everybody else would refuse it (`not_owner`). Denying a claim about a foreign entity, or
 * judging a conflict over one, is an opinion and travels.
 */
export function setOf(statement: Statement): StatementSet | null {
  const { audience, org } = statement;
  if (audience === 'local') return null;
  const garden = gardenOf(statement);
  const namespace =
    isFact(statement) || isResolution(statement) ? relationNamespace(statement.body.relation) : PROTOCOL_NAMESPACE;
  if (garden !== undefined) return namedSet('garden', org, namespace, garden);
  return namedSet(speaksForOthers(statement) ? 'own' : audience, org, namespace);
}

export function namedSet(audience: SetAudience, org: string, namespace: string, garden?: string): StatementSet {
  const name = `${audience}/${org}/${namespace}`;
  return { audience, org, namespace, name: garden === undefined ? name : `${name}/${garden}` };
}

/** Whether an authority is the organisation's own: its name, or a name below it. */
export function ownsAuthority(org: string, authority: string): boolean {
  return authority === org || authority.endsWith(`.${org}`);
}

/** Whether a fact claims something about an entity that another organisation's name stands on. */
export function claimsForeignEntity(statement: Statement): boolean {
  if (!isFact(statement) || statement.body.confidence === 0 || !isFormalUri(statement.body.entity)) return false;
  return !ownsAuthority(statement.org, uriAuthority(statement.body.entity, statement.org));
}

/** Whether a statement says in its own organisation's name what only another one may say. */
export function speaksForOthers(statement: Statement): boolean {
  return claimsForeignEntity(statement) || namesForeignSource(statement);
}

/** Whether the source of a statement stands on another organisation's name. */
export function namesForeignSource(statement: Statement): boolean {
  if (!(isFact(statement) || isResolution(statement)) || !isFormalUri(statement.body.source)) return false;
  return !ownsAuthority(statement.org, uriAuthority(statement.body.source, statement.org));
}

/** What a writer should know about a fact that peers are meant to see, and will not (`own` above). */
export function sharingWarnings(org: string, { entity, source, scope, confidence }: FactBody): string[] {
  if (scope !== 'company' && scope !== 'public') return [];
  const names = confidence === 0 ? { source } : { entity, source };
  return Object.entries(names)
    .filter(([, uri]) => isFormalUri(uri) && !ownsAuthority(org, uriAuthority(uri, org)))
    .map(
      ([member, uri]) =>
        `${member} '${uri}' is in the name of ${uriAuthority(uri, org)}: as a claim of ${org} this stays within ${org}`,
    );
}

/** Also of statements of unknown kinds: whatever else they say, a garden narrows who may hold them. */
function gardenOf(statement: Statement): string | undefined {
  const { garden_id } = statement.ext ?? {};
  return typeof garden_id === 'string' ? garden_id : undefined;
}
