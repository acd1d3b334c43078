import { createHash } from 'node:crypto';
import type { SetCommit } from '../../src/node/mesh-services.ts';
import { namedSet, type SetAudience } from '../../src/policy/sets.ts';
import type { Pairing, PeerTerms } from '../../src/policy/sharing.ts';

const ALL: PeerTerms = { gives: ['public', 'company'], takes: ['public', 'company'], namespaces: null };

/** Two organisations that share public and company facts, unless told otherwise. */
export function pairing(
  changes: { peerOrg?: string; ours?: Partial<PeerTerms>; theirs?: Partial<PeerTerms> } = {},
): Pairing {
  return {
    org: 'acme.example',
    peerOrg: changes.peerOrg ?? 'bolt.example',
    ours: { ...ALL, ...changes.ours },
    theirs: { ...ALL, ...changes.theirs },
  };
}

/** A commit of bytes that are no statement: what carries statements does not look at them. */
export function commit(
  n: number,
  changes: { audience?: SetAudience; org?: string; namespace?: string; from?: string | null; bytes?: number } = {},
): SetCommit {
  const { audience = 'company', org = 'acme.example', namespace = 'memory', from = null, bytes = 100 } = changes;
  const content = Buffer.alloc(bytes, n & 0xff);
  content.writeUInt32BE(n);
  return {
    set: namedSet(audience, org, namespace),
    hlc: `17954${String(n).padStart(8, '0')}.000`,
    digest: createHash('sha256').update(content).digest(),
    receivedFrom: from,
    bytes: content,
    sig: Buffer.alloc(64, n & 0xff),
  };
}
