import { normalizeUri } from '../facts/entity-uri.ts';
import { formatInstant } from '../facts/index.ts';
import type { FactScope } from '../facts/scope.ts';
import {
  type GardenAccess,
  isLastAdmin,
  isNodeAdmin,
  mayManageGarden,
  mayReadGarden,
  writeRefusal,
} from '../policy/garden-access.ts';
import type { Permission, Principal } from '../policy/principal.ts';
import { gardenKey, gardenRange } from '../store/keys.ts';
import { forEachSlice, type Reader } from '../store/store.ts';
import { NodeError } from './errors.ts';
import { MAX_DESCRIPTION, MAX_GARDEN_MEMBERS, MAX_GARDEN_NAME } from './local-limits.ts';
import { fromJson, toJson } from './records.ts';
import { Serial } from './serial.ts';
import type { AuditEvent, Garden, GardenMember, GardenRole, GardenService, LocalWriter } from './services.ts';
import { recovered } from './writer.ts';

export interface GardensComponents {
  readonly store: Reader;
  readonly writer: LocalWriter;
  readonly now: () => number;
  readonly randomUUID: () => string;
}

export interface GardensInit {
  /** Authority of this organisation: garden URIs carry it. */
  readonly org: string;
  /** Most gardens, deleted ones included: all of them are held in memory. */
  readonly maxGardens: number;
}

/**
 * A garden as stored. A deleted one leaves its slug behind: facts that carry its URI stay, and whoever made a garden
 * of that name anew would read them.
 */
type GardenRecord = Garden & { readonly deleted_at?: string; readonly deleted_by?: string };

const SLUG = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** A slug of this shape could be taken for the id of another garden. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const URI_MARK = '/garden/';

/** Gardens: named groups of entities that narrow who may read and write facts. Held in memory, written through. */
export class Gardens implements GardenService {
  readonly #components: GardensComponents;
  readonly #init: GardensInit;
  readonly #serial = new Serial();
  /** By slug; deleted ones too. */
  readonly #records = new Map<string, GardenRecord>();
  /** Live gardens by UUID and by URI. */
  readonly #byId = new Map<string, Garden>();
  readonly #byUri = new Map<string, Garden>();
  readonly #access = new WeakMap<Garden, GardenAccess>();

  constructor(components: GardensComponents, init: GardensInit) {
    this.#components = components;
    this.#init = init;
  }

  /** Gardens, deleted ones included: what the limit counts. */
  get size(): number {
    return this.#records.size;
  }

  /** Reads every garden into memory; call before anything else. */
  async load(): Promise<void> {
    await forEachSlice(this.#components.store, gardenRange(), (entries) => {
      for (const { value } of entries) this.#keep(fromJson<GardenRecord>(value));
      return undefined;
    });
  }

  /**
   * The creator becomes its admin. The slug of a deleted garden can be given again by node admins only.
   *
   * @throws NodeError `permission_denied`, `scope_denied`, `garden_slug_invalid`, `garden_exists`, `limit_reached`
   */
  create(who: Principal, input: Parameters<GardenService['create']>[1]): Promise<Garden> {
    return this.#serial.run(async () => {
      requirePermission(who, 'write');
      requireScope(who, input.scope);
      const slug = normalizeSlug(input.slug);
      const name = bounded(input.name, 'name', MAX_GARDEN_NAME);
      const description = input.description == null ? null : bounded(input.description, 'description', MAX_DESCRIPTION);
      if (name === '') throw new NodeError('invalid_query', 'name must not be empty', 'give the garden a name');
      this.#assertFree(who, slug);
      const at = formatInstant(this.#components.now());
      const garden: Garden = {
        id: this.#components.randomUUID(),
        garden_id: `stigmem://${this.#init.org}${URI_MARK}${slug}`,
        slug,
        name,
        scope: input.scope,
        description,
        created_by: who.entity,
        created_at: at,
        members: [{ entity_uri: who.entity, role: 'admin', added_by: who.entity, added_at: at }],
        quarantine: input.quarantine ?? false,
      };
      return this.#write(garden, garden, {
        type: 'garden_create',
        who,
        detail: { garden: garden.garden_id, id: garden.id, scope: garden.scope, quarantine: garden.quarantine },
      });
    });
  }

  /** Gardens the caller may read, oldest first; `members` is empty, as in the contract. @throws NodeError `permission_denied` */
  async list(who: Principal): Promise<Garden[]> {
    requirePermission(who, 'read', 'admin');
    const visible = [...this.#byId.values()].filter((garden) => mayReadGarden(who, this.#accessOf(garden)));
    visible.sort((a, b) => compare(a.created_at, b.created_at) || compare(a.slug, b.slug));
    return visible.map((garden) => ({ ...garden, members: [] }));
  }

  /** @throws NodeError `permission_denied`, `garden_not_found`, `garden_forbidden` */
  async get(who: Principal, slugOrId: string): Promise<Garden> {
    requirePermission(who, 'read', 'admin');
    return this.#readable(who, slugOrId);
  }

  /** Oldest membership first. @throws NodeError `permission_denied`, `garden_not_found`, `garden_forbidden` */
  async members(who: Principal, slugOrId: string): Promise<readonly GardenMember[]> {
    requirePermission(who, 'read', 'admin');
    return this.#readable(who, slugOrId).members;
  }

  /**
   * Deletes a garden. Its facts stay, and from then on only node admins read them.
   *
   * @throws NodeError `garden_not_found`, `garden_forbidden`
   */
  remove(who: Principal, slugOrId: string): Promise<void> {
    return this.#serial.run(async () => {
      const garden = this.#manageable(who, slugOrId);
      const gone: GardenRecord = {
        ...garden,
        members: [],
        deleted_at: formatInstant(this.#components.now()),
        deleted_by: who.entity,
      };
      const detail = { garden: garden.garden_id, id: garden.id };
      await this.#write(gone, undefined, { type: 'garden_delete', who, detail });
    });
  }

  /** @throws NodeError `garden_not_found`, `garden_forbidden`, `member_exists`, `limit_reached`; FactError `invalid_entity_uri` */
  addMember(who: Principal, slugOrId: string, input: { entity_uri: string; role: GardenRole }): Promise<GardenMember> {
    return this.#serial.run(async () => {
      const garden = this.#manageable(who, slugOrId);
      const entity = normalizeUri(input.entity_uri, 'entity_uri');
      const existing = garden.members.find((member) => member.entity_uri === entity);
      if (existing) {
        throw new NodeError(
          'member_exists',
          `entity is already a member with role '${existing.role}'; use PATCH to change role`,
          'change the role of the membership instead',
        );
      }
      if (garden.members.length >= MAX_GARDEN_MEMBERS) {
        throw new NodeError(
          'limit_reached',
          `the garden has ${MAX_GARDEN_MEMBERS} members`,
          'remove members, or use a second garden',
        );
      }
      const member: GardenMember = {
        entity_uri: entity,
        role: input.role,
        added_by: who.entity,
        added_at: formatInstant(this.#components.now()),
      };
      const detail = { garden: garden.garden_id, member: entity, role: input.role };
      return this.#write({ ...garden, members: [...garden.members, member] }, member, {
        type: 'garden_member_add',
        who,
        detail,
      });
    });
  }

  /** @throws NodeError `garden_not_found`, `garden_forbidden`, `member_not_found`, `last_admin`; FactError `invalid_entity_uri` */
  setRole(who: Principal, slugOrId: string, entityUri: string, role: GardenRole): Promise<GardenMember> {
    return this.#serial.run(async () => {
      const garden = this.#manageable(who, slugOrId);
      const old = memberOf(garden, normalizeUri(entityUri, 'entity_uri'));
      if (role !== 'admin') this.#assertNotLastAdmin(garden, old.entity_uri);
      const member: GardenMember = { ...old, role };
      const members = garden.members.map((each) => (each === old ? member : each));
      const detail = { garden: garden.garden_id, member: old.entity_uri, role, was: old.role };
      return this.#write({ ...garden, members }, member, { type: 'garden_member_role', who, detail });
    });
  }

  /** @throws NodeError `garden_not_found`, `garden_forbidden`, `member_not_found`, `last_admin`; FactError `invalid_entity_uri` */
  removeMember(who: Principal, slugOrId: string, entityUri: string): Promise<void> {
    return this.#serial.run(async () => {
      const garden = this.#manageable(who, slugOrId);
      const old = memberOf(garden, normalizeUri(entityUri, 'entity_uri'));
      this.#assertNotLastAdmin(garden, old.entity_uri);
      const members = garden.members.filter((each) => each !== old);
      const detail = { garden: garden.garden_id, member: old.entity_uri, was: old.role };
      await this.#write({ ...garden, members }, undefined, { type: 'garden_member_remove', who, detail });
    });
  }

  /**
   * The garden with this URI (what stands after the first `/garden/`; the authority is ignored, as in the reference),
   * UUID or slug.
   *
   * @throws NodeError `garden_not_found`
   */
  resolve(reference: string): Garden {
    const mark = reference.indexOf(URI_MARK);
    const name = (mark === -1 ? reference : withoutSlashes(reference.slice(mark + URI_MARK.length)))
      .trim()
      .toLowerCase();
    const record = this.#records.get(name);
    const garden = this.#byId.get(name) ?? (record?.deleted_at === undefined ? record : undefined);
    if (!garden) throw new NodeError('garden_not_found', 'garden not found', "list yours with 'stigmesh gardens list'");
    return garden;
  }

  /** Facts of a deleted garden, or of one this daemon never had, are for node admins. */
  mayRead(who: Principal, gardenUri: string): boolean {
    const garden = this.#byUri.get(gardenUri);
    return garden ? mayReadGarden(who, this.#accessOf(garden)) : isNodeAdmin(who);
  }

  /** @throws NodeError `garden_forbidden`; `garden_not_found` when it was deleted meanwhile */
  assertMayWrite(who: Principal, garden: Garden): void {
    const refusal = writeRefusal(who, this.#accessOf(this.resolve(garden.id)));
    if (refusal !== undefined) throw forbidden(refusal);
  }

  #assertFree(who: Principal, slug: string): void {
    const old = this.#records.get(slug);
    if (old && old.deleted_at === undefined) {
      throw new NodeError('garden_exists', 'slug already exists', 'choose another slug');
    }
    if (old && !isNodeAdmin(who)) {
      throw new NodeError(
        'garden_exists',
        'slug already exists',
        'a deleted garden had this slug and its facts are still there: only a node admin can reuse it',
      );
    }
    if (!old && this.#records.size >= this.#init.maxGardens) {
      throw new NodeError(
        'limit_reached',
        `this daemon holds ${this.#init.maxGardens} gardens, deleted ones included`,
        'reuse the slug of a deleted garden, or raise the limit in the configuration',
      );
    }
  }

  #readable(who: Principal, slugOrId: string): Garden {
    const garden = this.resolve(slugOrId);
    if (!mayReadGarden(who, this.#accessOf(garden))) throw forbidden('not a member of this garden');
    return garden;
  }

  #manageable(who: Principal, slugOrId: string): Garden {
    const garden = this.resolve(slugOrId);
    if (!mayManageGarden(who, this.#accessOf(garden))) throw forbidden('garden admin permission required');
    return garden;
  }

  #assertNotLastAdmin(garden: Garden, entity: string): void {
    if (!isLastAdmin(this.#accessOf(garden), entity)) return;
    throw new NodeError(
      'last_admin',
      'cannot remove or demote the last admin; promote another member first',
      'give another member the role admin',
    );
  }

  /** Roles by entity: a query asks once per fact, and a garden may have a thousand members. */
  #accessOf(garden: Garden): GardenAccess {
    const known = this.#access.get(garden);
    if (known) return known;
    const roles = new Map(garden.members.map(({ entity_uri, role }) => [entity_uri, role]));
    const access = { scope: garden.scope, roles };
    this.#access.set(garden, access);
    return access;
  }

  async #write<T>(record: GardenRecord, result: T, event: AuditEvent): Promise<T> {
    const op = { type: 'put', key: gardenKey(record.slug), value: toJson(record) } as const;
    const before = this.#records.get(record.slug);
    await this.#components.writer.writeLocal(() => {
      // What was read again since may lack a member whom this would bring back.
      if (this.#records.get(record.slug) !== before) throw recovered();
      return { ops: [op], audit: [event], result: undefined };
    });
    this.#keep(record);
    return result;
  }

  #keep(record: GardenRecord): void {
    const old = this.#records.get(record.slug);
    if (old) {
      this.#byId.delete(old.id);
      this.#byUri.delete(old.garden_id);
    }
    this.#records.set(record.slug, record);
    if (record.deleted_at !== undefined) return;
    this.#byId.set(record.id, record);
    this.#byUri.set(record.garden_id, record);
  }
}

function normalizeSlug(text: string): string {
  const slug = text.trim().toLowerCase();
  if (!SLUG.test(slug)) {
    throw new NodeError(
      'garden_slug_invalid',
      'slug must match ^[a-z0-9][a-z0-9\\-]{0,62}$',
      'use letters, digits and hyphens, for example team-alpha',
    );
  }
  if (UUID.test(slug)) {
    throw new NodeError('garden_slug_invalid', 'slug must not look like an id', 'choose a name instead of a UUID');
  }
  return slug;
}

function memberOf(garden: Garden, entity: string): GardenMember {
  const member = garden.members.find((each) => each.entity_uri === entity);
  if (!member) throw new NodeError('member_not_found', 'member not found', 'list the members of the garden');
  return member;
}

function requirePermission(who: Principal, permission: Permission, or?: Permission): void {
  if (who.permissions.has(permission) || (or !== undefined && who.permissions.has(or))) return;
  throw new NodeError(
    'permission_denied',
    `${permission} permission required`,
    `use a key with permission '${permission}'`,
  );
}

function requireScope(who: Principal, scope: FactScope): void {
  if (who.scopes.has(scope)) return;
  throw new NodeError('scope_denied', `this key may not use scope '${scope}'`, 'use a key that has the scope');
}

function bounded(text: string, field: string, limit: number): string {
  if (text.length <= limit) return text;
  throw new NodeError('invalid_query', `${field} is longer than ${limit} characters`, `shorten the ${field}`);
}

function forbidden(message: string): NodeError {
  return new NodeError('garden_forbidden', message, 'ask an admin of the garden, or use a key with permission admin');
}

function withoutSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === '/') end--;
  return text.slice(0, end);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
