import type { KeyObject } from 'node:crypto';
import { sha256, signedMessage } from '../../src/facts/index.ts';
import { publicKeyFromPeerId, publicKeyObject } from '../../src/identity/index.ts';
import { decodeLogRecord } from '../../src/node/records.ts';
import * as keys from '../../src/store/keys.ts';
import { forEachSlice } from '../../src/store/store.ts';
import type { SimDaemon } from './daemon.ts';
import { parseSaid, type Said, setNameOf } from './oracle.ts';
import { isSigned } from './verifier.ts';

/** One statement that a daemon holds. */
export interface Held {
  /** Digest, hex. */
  readonly id: string;
  readonly said: Said;
  /** Name of its set by the oracle; null: it is nobody else's business. */
  readonly set: string | null;
  /** Where it came from, in the log of this daemon. */
  readonly receivedFrom: string | null;
  readonly seq: number;
}

/** Parsed once for all daemons: the same bytes say the same everywhere. */
const parsed = new Map<string, { readonly said: Said; readonly set: string | null }>();
const keyObjects = new Map<string, KeyObject>();
const MAX_PARSED = 20_000;

/** Reads what a daemon's disk gained since the last look, beside the daemon. */
export class LogWatch {
  readonly daemon: SimDaemon;
  /** By digest, hex. */
  readonly held = new Map<string, Held>();
  #next = 1;

  constructor(daemon: SimDaemon) {
    this.daemon = daemon;
  }

  /** @returns what is new @throws Error when what was there is gone */
  async look(): Promise<readonly Held[]> {
    const { contents } = this.daemon.disk;
    if (this.#next > 1 && !(await contents.get(keys.sequenceKey(this.#next - 1)))) {
      throw new Error(`${this.daemon.name} lost entry ${this.#next - 1} of its log`);
    }
    const fresh: Held[] = [];
    await forEachSlice(contents, keys.sequenceRange(this.#next, Number.MAX_SAFE_INTEGER), async (rows) => {
      for (const { key, value } of rows) {
        const digest = Buffer.from(keys.sequenceDigest(value));
        const record = await contents.get(keys.logKey(digest));
        if (!record) throw new Error(`${this.daemon.name} names a statement that its log does not hold`);
        const { bytes, sig, receivedFrom } = decodeLogRecord(record, digest);
        const id = digest.toString('hex');
        const held: Held = { id, ...parse(id, bytes), receivedFrom, seq: keys.sequenceOf(key) };
        if (!digest.equals(sha256(bytes)) || !isSigned(signedMessage(digest), keyOf(held.said.origin), sig)) {
          throw new Error(`${this.daemon.name} holds a statement that ${held.said.origin} did not sign`);
        }
        this.held.set(id, held);
        fresh.push(held);
        this.#next = held.seq + 1;
      }
      return undefined;
    });
    return fresh;
  }
}

function keyOf(peerId: string): KeyObject {
  const known = keyObjects.get(peerId);
  if (known) return known;
  const key = publicKeyObject(publicKeyFromPeerId(peerId));
  if (keyObjects.size >= MAX_PARSED) keyObjects.clear();
  keyObjects.set(peerId, key);
  return key;
}

function parse(id: string, bytes: Uint8Array): { readonly said: Said; readonly set: string | null } {
  const known = parsed.get(id);
  if (known) return known;
  const said = parseSaid(bytes);
  const entry = { said, set: setNameOf(said) };
  if (parsed.size >= MAX_PARSED) parsed.clear();
  parsed.set(id, entry);
  return entry;
}
