import { type FactScope, SCOPES } from '../facts/scope.ts';

/** Permission words of an API key. They are flat: `admin` does not imply the others (Stigmem's rule). */
export const PERMISSIONS = ['read', 'write', 'instruction:write', 'federate', 'admin', 'audit.read'] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** Who asks: an API key's identity, or the anonymous one of a daemon that runs with `auth.required = false`. */
export interface Principal {
  /** Id of the API key, null for the anonymous principal and for the daemon itself. */
  readonly keyId: string | null;
  /** Entity URI that audit entries and garden memberships name. */
  readonly entity: string;
  readonly permissions: ReadonlySet<Permission>;
  /** Scopes this principal may read and write. */
  readonly scopes: ReadonlySet<FactScope>;
}

/** The principal of a daemon without authentication (development, loopback only). Name as in Stigmem. */
export const ANONYMOUS: Principal = {
  keyId: null,
  entity: 'anon:trusted',
  permissions: new Set(PERMISSIONS),
  scopes: new Set(SCOPES),
};

/** The daemon acting for its operator: start-up, import, maintenance. */
export const SYSTEM: Principal = { ...ANONYMOUS, entity: 'system:stigmesh' };
