import { hash } from 'node:crypto';
import { base32 } from 'multiformats/bases/base32';
import { CID } from 'multiformats/cid';
import { FactError } from './errors.ts';

/** Multicodec of a CID over RFC 8785 JSON (`json`) and of SHA-256. https://github.com/multiformats/multicodec */
const JSON_CODEC = 0x0200;
const SHA2_256 = 0x12;

/**
 * What precedes the digest in every CID here: version 1, the codec as a varint, hash function and digest length. Put
 * together by hand because a CID object for each text costs six times as much; parseCid reads it back with the library.
 */
const CID_PREFIX = Buffer.of(0x01, (JSON_CODEC & 0x7f) | 0x80, JSON_CODEC >> 7, SHA2_256, 32);

/** A SHA-256 digest, 32 bytes: what both spellings of a CID carry. */
export type Digest = Uint8Array;

export function sha256(data: string | Uint8Array): Digest {
  return hash('sha256', data, 'buffer');
}

export function digestHex(data: string | Uint8Array): string {
  return hash('sha256', data, 'hex');
}

/** Stigmem's spelling of a content address: `sha256:` and 64 lower-case hex digits. */
export function sha256Name(digest: Digest): string {
  return `sha256:${Buffer.from(digest.buffer, digest.byteOffset, digest.length).toString('hex')}`;
}

/** The multiformats spelling of the same digest: CIDv1, codec json, base32 (`bagaaiera…`). */
export function cidText(digest: Digest): string {
  return base32.encode(Buffer.concat([CID_PREFIX, digest]));
}

/** A content address in either spelling: `sha256:…` names a claim, `bagaaiera…` a statement or a claim. */
export interface ParsedCid {
  readonly form: 'sha256' | 'cid';
  readonly digest: Digest;
}

/**
 * Parses either spelling, strictly: one digest has exactly one text in each form.
 *
 * @throws FactError `invalid_cid`
 */
export function parseCid(text: string): ParsedCid {
  if (text.startsWith('sha256:')) {
    if (!/^sha256:[0-9a-f]{64}$/.test(text)) throw invalid("CID must be 'sha256:' followed by 64 hex chars");
    return { form: 'sha256', digest: Buffer.from(text.slice(7), 'hex') };
  }
  if (text.length > 100) throw invalid('too long for a CID');
  try {
    const cid = CID.parse(text);
    if (cid.version === 1 && cid.code === JSON_CODEC && cid.multihash.code === SHA2_256) {
      const digest = cid.multihash.digest;
      if (digest.length === 32 && cidText(digest) === text) return { form: 'cid', digest };
    }
  } catch {
    // falls through: what multiformats says about the text is no help to a caller who mistyped it
  }
  throw invalid('not a CIDv1 of codec json and sha2-256 in lower-case base32');
}

function invalid(message: string): FactError {
  return new FactError('invalid_cid', message, 'copy the id or cid of a fact as the daemon returned it');
}
