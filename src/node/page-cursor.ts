import { createHmac, timingSafeEqual } from 'node:crypto';
import { digestHex } from '../facts/cid.ts';
import { readU64, u64 } from '../store/keys.ts';
import { NodeError } from './errors.ts';

const MAC_BYTES = 12;
const QUERY_BYTES = 8;

/** A place in an ordered answer: the order bytes of the last row shown, and the newest commit when it was made. */
export interface Position {
  readonly order: Buffer;
  readonly head: number;
}

/**
 * Opaque, tamper-evident page cursors: `query hash ‖ head ‖ order bytes ‖ HMAC`, base64url. A cursor holds a position,
 * not a count, so it survives any number of writes; it is bound to its query, so it cannot be used with another.
 */
export class PageCursors {
  readonly #secret: Uint8Array;

  /** @param secret at least 16 random bytes, kept across restarts */
  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  encode(query: string, position: Position): string {
    const payload = Buffer.concat([
      Buffer.from(digestHex(query), 'hex').subarray(0, QUERY_BYTES),
      u64(position.head),
      position.order,
    ]);
    return Buffer.concat([payload, this.#mac(payload)]).toString('base64url');
  }

  /** @throws NodeError `invalid_cursor` for anything this daemon did not make for this query */
  decode(query: string, cursor: string): Position {
    const bytes = cursor.length <= 200 && /^[\w-]+$/.test(cursor) ? Buffer.from(cursor, 'base64url') : Buffer.alloc(0);
    const payload = bytes.subarray(0, Math.max(0, bytes.length - MAC_BYTES));
    const genuine =
      payload.length >= QUERY_BYTES + 8 && timingSafeEqual(this.#mac(payload), bytes.subarray(payload.length));
    if (!genuine) throw new NodeError('invalid_cursor', 'not a cursor of this daemon', 'start again without a cursor');
    if (payload.toString('hex', 0, QUERY_BYTES) !== digestHex(query).slice(0, 2 * QUERY_BYTES)) {
      throw new NodeError(
        'invalid_cursor',
        'this cursor belongs to another query',
        'repeat the query it came from, or start again',
      );
    }
    return { head: readU64(payload, QUERY_BYTES), order: Buffer.from(payload.subarray(QUERY_BYTES + 8)) };
  }

  #mac(payload: Uint8Array): Buffer {
    return createHmac('sha256', this.#secret).update(payload).digest().subarray(0, MAC_BYTES);
  }
}
