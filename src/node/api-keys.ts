import { createHash, timingSafeEqual } from 'node:crypto';
import { normalizeUri } from '../facts/entity-uri.ts';
import { type FactScope, isScope, SCOPES } from '../facts/scope.ts';
import { formatInstant, parseInstant } from '../facts/time.ts';
import { PERMISSIONS, type Permission, type Principal, SYSTEM } from '../policy/principal.ts';
import { apiKeyKey, apiKeyRange } from '../store/keys.ts';
import { forEachSlice, type Reader, type StoreOp } from '../store/store.ts';
import { NodeError } from './errors.ts';
import { MAX_DESCRIPTION, MAX_RAW_KEY, MIN_RAW_KEY } from './local-limits.ts';
import { fromJson, toJson } from './records.ts';
import { Serial } from './serial.ts';
import type { ApiKeyInfo, ApiKeyService, AuditEvent, LocalWriter } from './services.ts';

export interface ApiKeysComponents {
  readonly store: Reader;
  readonly writer: LocalWriter;
  readonly now: () => number;
  readonly randomUUID: () => string;
  readonly randomBytes: (size: number) => Uint8Array;
}

export interface ApiKeysInit {
  /** Most keys that are neither revoked nor expired; as many dead ones are kept for the record. */
  readonly maxKeys: number;
  /** Longest life of a key in days, and its default; 0: keys need not expire. */
  readonly maxAgeDays: number;
}

/** A key as stored: all of its info and the SHA-256 of its secret. 256 random bits need no slow hash. */
interface KeyRecord extends ApiKeyInfo {
  /** Hex. */
  readonly hash: string;
}

/** A key in memory, with what a request must not parse again. */
interface Held {
  readonly record: KeyRecord;
  /** Unix ms; infinite when it does not expire. */
  readonly expires: number;
  /** When it was revoked or expires, whichever comes first (Unix ms). */
  readonly ends: number;
  readonly principal: Principal;
}

/** What an operator's key is made with. */
export interface BootstrapInput {
  readonly entity_uri: string;
  /** Every permission, unless named. */
  readonly permissions?: readonly Permission[] | undefined;
  readonly description?: string | null | undefined;
  /**
   * RFC 3339. Without it the key does not expire, whatever the configured limit: it lies beside the node's private key,
   * in a file of the same mode, and the CLI would stop working with it.
   */
  readonly expires_at?: string | null | undefined;
}

/** Marks our secrets, so that scanners for leaked ones know them. */
export const SECRET_PREFIX = 'smk_';
const SECRET_BYTES = 32;
const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * API keys. Secrets are never stored, only their SHA-256; all records are in memory, so that a request costs one hash,
 * one look-up and one comparison, whoever guesses what.
 */
export class ApiKeys implements ApiKeyService {
  readonly #components: ApiKeysComponents;
  readonly #init: ApiKeysInit;
  readonly #serial = new Serial();
  readonly #byHash = new Map<string, Held>();
  readonly #byId = new Map<string, Held>();
  /** Ids of keys whose end is being written, or could not be: they are of no use all the same. */
  readonly #ending = new Set<string>();

  constructor(components: ApiKeysComponents, init: ApiKeysInit) {
    this.#components = components;
    this.#init = init;
  }

  /** Keys that are neither revoked nor expired: what the limit counts. */
  get live(): number {
    let count = 0;
    for (const held of this.#byId.values()) if (this.#isLive(held)) count += 1;
    return count;
  }

  /** Reads every key into memory; call before anything else. */
  async load(): Promise<void> {
    await forEachSlice(this.#components.store, apiKeyRange(), (entries) => {
      for (const { value } of entries) this.#keep(fromJson<KeyRecord>(value));
      return undefined;
    });
  }

  /**
   * An admin may give out any permission and any scope, also ones the admin's own key lacks: permissions are flat, and
   * whoever can make admin keys could make one that has them.
   *
   * @throws NodeError `permission_denied`, `key_invalid`, `key_exists`, `limit_reached`; FactError `invalid_entity_uri`,
   *   `invalid_timestamp`
   */
  create(
    who: Principal,
    input: Parameters<ApiKeyService['create']>[1],
  ): Promise<{ readonly info: ApiKeyInfo; readonly secret: string | null }> {
    return this.#serial.run(async () => {
      requireAdmin(who, 'mint API keys');
      const made = input.raw_key === undefined ? this.#newSecret() : null;
      const secret = made ?? checkedSecret(input.raw_key!);
      const record = this.#record(input, secret, this.#expiry(input.expires_at));
      this.#assertRoom();
      return { info: await this.#add(who, record), secret: made };
    });
  }

  /**
   * Makes a key for the operator: the first one, or a new one when it was lost. Whoever runs this owns the node's
   * private key too, so nobody is asked for permission and the limit of live keys does not apply.
   *
   * @throws NodeError `key_invalid`; FactError as create
   */
  bootstrap(input: BootstrapInput): Promise<{ readonly info: ApiKeyInfo; readonly secret: string }> {
    return this.#serial.run(async () => {
      const secret = this.#newSecret();
      const expiresAt = input.expires_at == null ? null : this.#expiry(input.expires_at);
      const record = this.#record({ ...input, permissions: input.permissions ?? PERMISSIONS }, secret, expiresAt);
      return { info: await this.#add(SYSTEM, record), secret };
    });
  }

  /** Own live keys; with `all`, every key on record for admins. Oldest first. @throws NodeError `permission_denied` */
  async list(who: Principal, options: { readonly all?: boolean | undefined } = {}): Promise<ApiKeyInfo[]> {
    if (options.all) requireAdmin(who, 'list all API keys');
    return this.#sorted(
      (held) => options.all === true || (held.record.entity_uri === who.entity && this.#isLive(held)),
    );
  }

  /** Live keys of every entity that expire within so many days, soonest first. @throws NodeError `permission_denied` */
  async expiringSoon(
    who: Principal,
    withinDays: number,
  ): Promise<(ApiKeyInfo & { readonly days_remaining: number })[]> {
    requireAdmin(who, 'list expiring API keys');
    const now = this.#components.now();
    return [...this.#byId.values()]
      .filter((held) => this.#isLive(held) && held.expires <= now + withinDays * DAY_MS)
      .sort((a, b) => a.expires - b.expires || (a.record.id < b.record.id ? -1 : 1))
      .map((held) => ({
        ...infoOf(held.record),
        days_remaining: Math.round(((held.expires - now) / DAY_MS) * 100) / 100,
      }));
  }

  /**
   * Ends a key at once; its record stays. Owners revoke their own; admins any (the reference lets nobody end a leaked
   * key of somebody else). A key that is revoked already is not found, as in the contract.
   *
   * @throws NodeError `key_not_found`, `permission_denied`
   */
  revoke(who: Principal, id: string): Promise<void> {
    return this.#serial.run(async () => {
      const held = this.#byId.get(id);
      if (!held || held.record.revoked_at !== null) {
        throw new NodeError(
          'key_not_found',
          'Key not found',
          "it may be revoked already; list keys with 'stigmesh keys list', those of others with --all",
        );
      }
      const { record } = held;
      if (record.entity_uri !== who.entity && !who.permissions.has('admin')) {
        throw new NodeError('permission_denied', "Cannot revoke another entity's key", 'ask its owner or an admin');
      }
      const revoked: KeyRecord = { ...record, revoked_at: formatInstant(this.#components.now()) };
      const op: StoreOp = { type: 'put', key: apiKeyKey(id), value: toJson(revoked) };
      const event: AuditEvent = { type: 'key_revoke', who, detail: { key: id, entity_uri: record.entity_uri } };
      this.#ending.add(id);
      await this.#components.writer.writeLocal(() => ({ ops: [op], audit: [event], result: undefined }));
      this.#keep(revoked);
      this.#ending.delete(id);
    });
  }

  authenticate(secret: string): Principal | undefined {
    if (secret.length > MAX_RAW_KEY) return undefined;
    const hash = sha256(secret);
    const held = this.#byHash.get(hash.toString('hex'));
    if (!held || !timingSafeEqual(hash, Buffer.from(held.record.hash, 'hex')) || !this.#isLive(held)) return undefined;
    return held.principal;
  }

  #record(
    input: Omit<Parameters<ApiKeyService['create']>[1], 'raw_key' | 'expires_at'>,
    secret: string,
    expiresAt: string | null,
  ): KeyRecord {
    return {
      id: this.#components.randomUUID(),
      entity_uri: normalizeUri(input.entity_uri, 'entity_uri'),
      permissions: checkedPermissions(input.permissions),
      scopes: checkedScopes(input.scopes ?? SCOPES),
      description: checkedDescription(input.description),
      created_at: formatInstant(this.#components.now()),
      expires_at: expiresAt,
      revoked_at: null,
      hash: sha256(secret).toString('hex'),
    };
  }

  #assertRoom(): void {
    const { maxKeys } = this.#init;
    if (this.live < maxKeys) return;
    throw new NodeError('limit_reached', `this daemon holds ${maxKeys} live API keys`, 'revoke keys that are not used');
  }

  async #add(who: Principal, record: KeyRecord): Promise<ApiKeyInfo> {
    this.#assertNew(record);
    const dead = [...this.#byId.values()].filter((held) => !this.#isLive(held)).sort((a, b) => a.ends - b.ends);
    const { id, entity_uri, permissions, scopes, expires_at } = record;
    const detail = { key: id, entity_uri, permissions, scopes, expires_at };
    const audit: AuditEvent[] = [{ type: 'key_create', who, detail }];
    const ops: StoreOp[] = [{ type: 'put', key: apiKeyKey(id), value: toJson(record) }];
    const purged = dead.slice(0, Math.max(0, dead.length - this.#init.maxKeys));
    for (const held of purged) {
      ops.push({ type: 'del', key: apiKeyKey(held.record.id) });
      audit.push({
        type: 'key_purge',
        who: SYSTEM,
        detail: { key: held.record.id, entity_uri: held.record.entity_uri },
      });
    }
    await this.#components.writer.writeLocal(() => {
      // A write that failed may have turned out to be on disk.
      this.#assertNew(record);
      return { ops, audit, result: undefined };
    });
    for (const held of purged) {
      this.#byId.delete(held.record.id);
      this.#byHash.delete(held.record.hash);
    }
    this.#keep(record);
    return infoOf(record);
  }

  #assertNew({ hash }: KeyRecord): void {
    if (!this.#byHash.has(hash)) return;
    throw new NodeError(
      'key_exists',
      'raw_key already exists; generate a new key value',
      'leave raw_key out and the daemon makes one',
    );
  }

  #keep(record: KeyRecord): void {
    const expires =
      record.expires_at === null ? Number.POSITIVE_INFINITY : parseInstant(record.expires_at, 'expires_at');
    const held: Held = {
      record,
      expires,
      ends: record.revoked_at === null ? expires : Math.min(expires, parseInstant(record.revoked_at, 'revoked_at')),
      principal: {
        keyId: record.id,
        entity: record.entity_uri,
        permissions: new Set(record.permissions),
        scopes: new Set(record.scopes),
      },
    };
    this.#byId.set(record.id, held);
    this.#byHash.set(record.hash, held);
  }

  #isLive({ record, expires }: Held): boolean {
    return record.revoked_at === null && expires > this.#components.now() && !this.#ending.has(record.id);
  }

  #sorted(take: (held: Held) => boolean): ApiKeyInfo[] {
    return [...this.#byId.values()]
      .filter(take)
      .map(({ record }) => infoOf(record))
      .sort((a, b) => (a.created_at < b.created_at ? -1 : a.created_at > b.created_at ? 1 : a.id < b.id ? -1 : 1));
  }

  #expiry(text: string | null | undefined): string | null {
    const { maxAgeDays } = this.#init;
    const now = this.#components.now();
    if (text == null) return maxAgeDays === 0 ? null : formatInstant(now + maxAgeDays * DAY_MS);
    const instant = parseInstant(text, 'expires_at');
    if (instant <= now) throw invalid('expires_at is in the past', 'give a time that is still to come');
    if (maxAgeDays !== 0 && instant > now + maxAgeDays * DAY_MS) {
      throw invalid(
        `expires_at exceeds configured static API key max age (${maxAgeDays} days)`,
        'give an earlier time, or raise auth.key_max_age_days',
      );
    }
    return formatInstant(instant);
  }

  #newSecret(): string {
    return SECRET_PREFIX + Buffer.from(this.#components.randomBytes(SECRET_BYTES)).toString('base64url');
  }
}

function infoOf({ hash: _hash, ...info }: KeyRecord): ApiKeyInfo {
  return info;
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function requireAdmin(who: Principal, what: string): void {
  if (who.permissions.has('admin')) return;
  throw new NodeError('permission_denied', `admin permission required to ${what}`, "use a key with permission 'admin'");
}

function checkedSecret(raw: string): string {
  if (raw.length < MIN_RAW_KEY) {
    throw invalid(`raw_key must be at least ${MIN_RAW_KEY} characters`, 'leave it out and the daemon makes one');
  }
  // What cannot stand in a header could be stored, but never presented.
  if (raw.length > MAX_RAW_KEY || !/^[\x21-\x7e]+$/.test(raw)) {
    throw invalid(
      `raw_key must be printable ASCII without spaces, at most ${MAX_RAW_KEY} characters`,
      'leave it out and the daemon makes one',
    );
  }
  return raw;
}

function checkedPermissions(given: readonly string[]): Permission[] {
  const known = [...PERMISSIONS].sort();
  const unknown = [...new Set(given)].filter((word) => !(known as string[]).includes(word)).sort();
  if (unknown.length > 0) {
    const hint = 'leave out the words it does not know';
    throw invalid(`unknown permissions: ${pythonList(unknown)}; allowed: ${pythonList(known)}`, hint);
  }
  if (given.length === 0) throw invalid('permissions list must be non-empty', 'name at least one, for example read');
  return known.filter((word) => given.includes(word));
}

function checkedScopes(given: readonly string[]): FactScope[] {
  if (given.length === 0) throw invalid('scopes list must be non-empty', `leave it out for ${SCOPES.join(', ')}`);
  const unknown = given.filter((scope) => !isScope(scope));
  if (unknown.length > 0) throw invalid(`unknown scopes: ${pythonList(unknown)}`, `allowed: ${SCOPES.join(', ')}`);
  return SCOPES.filter((scope) => given.includes(scope));
}

function checkedDescription(given: string | null | undefined): string | null {
  if (given == null) return null;
  if (given.length <= MAX_DESCRIPTION) return given;
  throw invalid(`description is longer than ${MAX_DESCRIPTION} characters`, 'shorten it');
}

/** A list as the reference prints it: its clients match these texts. */
function pythonList(words: readonly string[]): string {
  return `[${words.map((word) => `'${word.slice(0, 100)}'`).join(', ')}]`;
}

function invalid(message: string, hint: string): NodeError {
  return new NodeError('key_invalid', message, hint);
}
