import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  type EncodedStatement,
  encodeStatement,
  formatInstant,
  hlcWall,
  signStatement,
} from '../../src/facts/index.ts';
import type { FactBody, FactExt, FactStatement } from '../../src/facts/statement.ts';
import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';

/** A statement ready to be imported. */
export interface Foreign {
  readonly bytes: Uint8Array;
  readonly sig: Uint8Array;
}

/** Another node, of another organisation, that signs what it is told to, at any time it is told to. */
export class Origin {
  readonly org: string;
  readonly peerId: string;
  readonly key: KeyObject;

  constructor(org: string) {
    const { privateKey } = generateKeyPairSync('ed25519');
    this.org = org;
    this.key = privateKey;
    this.peerId = peerIdFromPublicKey(rawPublicKey(privateKey));
  }

  statement(hlc: string, body: Partial<FactBody> = {}, ext: FactExt = {}): FactStatement {
    const scope = body.scope ?? 'company';
    return {
      v: 1,
      kind: 'fact',
      origin: this.peerId,
      org: this.org,
      audience: scope,
      hlc,
      timestamp: formatInstant(hlcWall(hlc)),
      body: {
        confidence: 1,
        entity: 'stigmem://acme.example/user/alice',
        relation: 'memory:role',
        source: `stigmem://${this.org}/agent/a`,
        value: { type: 'string', v: 'CEO' },
        ...body,
        scope,
      },
      ext,
    };
  }

  async state(hlc: string, body: Partial<FactBody> = {}, ext: FactExt = {}): Promise<Foreign> {
    return this.sign(encodeStatement(this.statement(hlc, body, ext)));
  }

  async sign(encoded: EncodedStatement): Promise<Foreign> {
    const { bytes, sig } = await signStatement(encoded, this.key);
    return { bytes, sig };
  }
}
