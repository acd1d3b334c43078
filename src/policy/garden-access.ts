import type { FactScope } from '../facts/scope.ts';
import type { Principal } from './principal.ts';

/**
 * Who may do what with a garden (spec/decisions/0011). A garden narrows the audience of its scope: reading one takes
 * the scope and a membership of any role. Node admins (permission `admin`) stand above memberships, not above scopes.
 */

export type GardenRole = 'admin' | 'writer' | 'reader' | 'quarantine:moderator';

/** What the rules need to know of a garden. */
export interface GardenAccess {
  readonly scope: FactScope;
  /** Role by member entity. */
  readonly roles: ReadonlyMap<string, GardenRole>;
}

export function isNodeAdmin(who: Principal): boolean {
  return who.permissions.has('admin');
}

export function mayReadGarden(who: Principal, garden: GardenAccess): boolean {
  return who.scopes.has(garden.scope) && (isNodeAdmin(who) || garden.roles.has(who.entity));
}

export function mayManageGarden(who: Principal, garden: GardenAccess): boolean {
  return isNodeAdmin(who) || garden.roles.get(who.entity) === 'admin';
}

/** Why this principal may not write facts into the garden, in Stigmem's words; undefined when it may. */
export function writeRefusal(who: Principal, garden: GardenAccess): string | undefined {
  if (isNodeAdmin(who)) return undefined;
  const role = garden.roles.get(who.entity);
  if (role === 'admin' || role === 'writer') return undefined;
  return role === undefined
    ? 'not a member of this garden'
    : `write permission required — you are a ${role} in this garden`;
}

/** Whether taking this membership away, or its admin role, would leave the garden without an admin. */
export function isLastAdmin(garden: GardenAccess, entityUri: string): boolean {
  if (garden.roles.get(entityUri) !== 'admin') return false;
  return [...garden.roles.values()].filter((role) => role === 'admin').length === 1;
}
