import { sha256 } from '../facts/cid.ts';
import * as keys from '../store/keys.ts';
import type { Store } from '../store/store.ts';
import { NodeError } from './errors.ts';
import { IDEMPOTENCY_PRUNE, IDEMPOTENCY_TTL_MS } from './limits.ts';
import { fromJson, toJson } from './records.ts';
import type { BatchItem } from './types.ts';
import type { Group } from './writer.ts';

/** What an earlier request with the same key was, and what it was answered. */
export interface Remembered {
  /** Digest of the request's body, hex. */
  readonly request: string;
  readonly ids: readonly string[];
  readonly items: readonly BatchItem[];
}

/**
 * Answers of requests that carried an idempotency key, kept 24 hours. They are written in the same batch as what they
 * answer, so a client that lost the answer to a crash can ask again.
 */
export class Idempotency {
  readonly #store: Store;

  constructor(components: { readonly store: Store }) {
    this.#store = components.store;
  }

  /** @throws NodeError `idempotency_mismatch` when the key was used with another body */
  async find(group: Group, principal: string, key: string, request: Uint8Array): Promise<Remembered | undefined> {
    const name = nameOf(principal, key);
    const value = group.remembered.get(name.toString('hex')) ?? (await this.#store.get(keys.idempotencyKey(name)));
    if (!value) return undefined;
    const { at, ...remembered } = fromJson<Remembered & { at: number }>(value);
    if (at + IDEMPOTENCY_TTL_MS <= group.now) return undefined;
    if (remembered.request !== Buffer.from(request).toString('hex')) {
      throw new NodeError(
        'idempotency_mismatch',
        'this idempotency key was used with another request',
        'use a new key for a new request',
      );
    }
    return remembered;
  }

  remember(group: Group, principal: string, key: string, remembered: Remembered): void {
    const name = nameOf(principal, key);
    const value = toJson({ ...remembered, at: group.now });
    group.remembered.set(name.toString('hex'), value);
    group.ops.push({ type: 'put', key: keys.idempotencyKey(name), value });
    group.ops.push({ type: 'put', key: keys.idempotencyAgeKey(group.now, name), value: Buffer.alloc(0) });
    group.later(this.#stale(group));
  }

  /**
   * Each new key pays for the removal of a few old ones, so the table never outgrows a day's worth.
   *
   * @returns what removes them, once it is known which keys the whole group uses again
   */
  async #stale(group: Group): Promise<() => void> {
    const scan = this.#store.scan(keys.idempotencyAgeRange(Math.max(0, group.now - IDEMPOTENCY_TTL_MS)));
    const ages: Buffer[] = [];
    const stale: Buffer[] = [];
    try {
      for (const { key } of await scan.next(IDEMPOTENCY_PRUNE)) {
        ages.push(key);
        const name = keys.idempotencyDigestOf(key);
        const value = await this.#store.get(keys.idempotencyKey(name));
        if (value && fromJson<{ at: number }>(value).at + IDEMPOTENCY_TTL_MS <= group.now) stale.push(name);
      }
    } finally {
      await scan.close();
    }
    return () => {
      for (const key of ages) group.ops.push({ type: 'del', key });
      for (const name of stale) {
        if (!group.remembered.has(name.toString('hex')))
          group.ops.push({ type: 'del', key: keys.idempotencyKey(name) });
      }
    };
  }
}

function nameOf(principal: string, key: string): Buffer {
  return Buffer.from(sha256(`${principal}\0${key}`));
}
