import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  encodeStatement,
  type FactBody,
  type FactExt,
  type FactStatement,
  formatHlc,
  formatInstant,
  hlcWall,
  type ManifestStatement,
  type ResolutionStatement,
  type Statement,
  signStatement,
} from '../../src/facts/index.ts';
import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';
import type { OrgManifest } from '../../src/identity/manifest.ts';
import { createManifest, type ManifestNodeInit, withNode, withoutNode } from '../../src/identity/manifest-edit.ts';
import type { InboundOutcome, WireStatement } from '../../src/node/federation.ts';
import type { PeerDeclared } from '../../src/node/mesh-services.ts';
import type { NodeInit, StigmeshNode } from '../../src/node/node.ts';
import type { Pairing, PeerTerms } from '../../src/policy/sharing.ts';
import type { Store } from '../../src/store/store.ts';
import { digestOfKey } from '../../src/sync/key.ts';
import { openTestNode, TestClock, type TestNode, who } from './test-node.ts';

/** Two or more nodes in one process that exchange statements through the door of the log, without a network. */

export const OPEN_TERMS: PeerTerms = { gives: ['company', 'public'], takes: ['company', 'public'], namespaces: null };
export const PUBLIC_TERMS: PeerTerms = { gives: ['public'], takes: ['public'], namespaces: null };

/** A key made of a name: the same in every run. */
export function keyOf(name: string): KeyObject {
  const seed = Buffer.alloc(32);
  Buffer.from(name).copy(seed);
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

/** An organisation: its key, and the manifests signed with it. */
export class Org {
  readonly authority: string;
  readonly key: KeyObject;
  manifest: OrgManifest;
  readonly #now: () => number;

  constructor(
    authority: string,
    node: ManifestNodeInit,
    now: () => number,
    key = generateKeyPairSync('ed25519').privateKey,
  ) {
    this.authority = authority;
    this.key = key;
    this.#now = now;
    this.manifest = createManifest({ authority, ...node }, { orgKey: key, now: now() });
  }

  get orgKey(): string {
    return this.manifest.org_key;
  }

  add(node: ManifestNodeInit): OrgManifest {
    this.manifest = withNode(this.manifest, node, { orgKey: this.key, now: this.#now() });
    return this.manifest;
  }

  revoke(peerId: string, at: string): OrgManifest {
    this.manifest = withoutNode(this.manifest, peerId, at, { orgKey: this.key, now: this.#now() });
    return this.manifest;
  }
}

/** A node of some organisation that exists on paper: it signs what it is told to. */
export class Signer {
  readonly org: Org;
  readonly peerId: string;
  readonly key: KeyObject;

  /** @param seed makes its keys, and those of its organisation, the same in every run */
  constructor(
    authority: string,
    now: () => number,
    { seed, ...node }: Omit<ManifestNodeInit, 'peerId'> & { readonly seed?: string } = {},
  ) {
    this.key = seed === undefined ? generateKeyPairSync('ed25519').privateKey : keyOf(seed);
    this.peerId = peerIdFromPublicKey(rawPublicKey(this.key));
    const orgKey = seed === undefined ? undefined : keyOf(`org of ${seed}`);
    this.org = new Org(authority, { ...node, peerId: this.peerId }, now, orgKey);
  }

  fact(hlc: string, body: Partial<FactBody> = {}, ext: FactExt = {}, more: Partial<FactStatement> = {}): WireStatement {
    const scope = body.scope ?? 'public';
    const statement: FactStatement = {
      ...this.#envelope(hlc),
      kind: 'fact',
      audience: scope,
      body: {
        confidence: 1,
        entity: `stigmem://${this.org.authority}/user/bob`,
        relation: 'memory:role',
        source: `stigmem://${this.org.authority}/agent/hr`,
        value: { type: 'string', v: 'CEO' },
        ...body,
        scope,
      },
      ext,
      ...more,
    };
    return this.sign(statement);
  }

  manifest(hlc: string, manifest: OrgManifest = this.org.manifest): WireStatement {
    const statement: ManifestStatement = {
      ...this.#envelope(hlc),
      kind: 'manifest',
      audience: 'public',
      body: manifest,
      ext: {},
    };
    return this.sign(statement);
  }

  resolution(hlc: string, body: ResolutionStatement['body']): WireStatement {
    return this.sign({ ...this.#envelope(hlc), kind: 'resolution', audience: body.scope, body, ext: {} });
  }

  sign(statement: Exclude<Statement, { opaque: true }>, key = this.key): WireStatement {
    const { bytes, sig } = signStatement(encodeStatement(statement), key);
    return { bytes, sig };
  }

  /** As a peer that declared itself. */
  declared(terms: PeerTerms = OPEN_TERMS, more: Partial<PeerDeclared> = {}): PeerDeclared {
    const { authority, orgKey } = this.org;
    return { org: authority, orgKey, addrs: [], terms, signedAt: 0, expiresAt: null, ...more };
  }

  #envelope(hlc: string) {
    return {
      v: 1 as const,
      origin: this.peerId,
      org: this.org.authority,
      hlc,
      timestamp: formatInstant(hlcWall(hlc)),
    };
  }
}

export interface OrgNode extends TestNode {
  readonly peerId: string;
  readonly org: Org;
}

/** A node that has published the manifest of its own organisation. */
export async function openOrgNode(
  authority: string,
  options: Omit<Partial<NodeInit>, 'org'> & { clock?: TestClock; issuer?: Org; store?: Store } = {},
): Promise<OrgNode> {
  const { issuer: given, clock = new TestClock(), ...more } = options;
  const t = await openTestNode({ ...more, clock, org: authority });
  const { peerId } = t.init;
  const org = given ?? new Org(authority, { peerId }, clock.now);
  if (given) org.add({ peerId });
  await t.node.manifests.publish(who, org.manifest);
  return { ...t, peerId, org };
}

function declaredBy({ org }: Pick<OrgNode, 'org'>, terms: PeerTerms): PeerDeclared {
  const { authority, orgKey } = org;
  return { org: authority, orgKey, addrs: ['/ip4/192.0.2.1/tcp/4701'], terms, signedAt: 0, expiresAt: null };
}

/** One side of a pairing: `of` takes `other` (which need not be a real node) for a peer. */
export async function admitPeer(
  of: OrgNode,
  other: { readonly peerId: string; readonly org: Org },
  ours: PeerTerms = OPEN_TERMS,
  theirs: PeerTerms = OPEN_TERMS,
): Promise<Pairing> {
  const { peers, manifests } = of.node;
  await manifests.accept(who, other.org.manifest, { pin: true, from: other.peerId });
  await peers.approve(who, other.peerId, ours);
  await peers.declared(other.peerId, declaredBy(other, theirs));
  await of.node.settled();
  return peers.pairing(other.peerId)!;
}

/** Both declare themselves to each other. */
export async function pair(
  a: OrgNode,
  b: OrgNode,
  terms: { readonly a?: PeerTerms; readonly b?: PeerTerms } = {},
): Promise<void> {
  const { a: ofA = OPEN_TERMS, b: ofB = OPEN_TERMS } = terms;
  await admitPeer(a, b, ofA, ofB);
  await admitPeer(b, a, ofB, ofA);
}

/** Everything that one node shares with a peer, oldest first in each set. */
export async function shared(from: StigmeshNode, pairing: Pairing): Promise<WireStatement[]> {
  await from.sets.ready;
  const digests = from.sets.list(pairing).flatMap(({ index }) => [...index.keys()].map(digestOfKey));
  const found = await from.sets.read(pairing, digests);
  return found.filter((statement) => statement !== undefined);
}

/** Sends all that `from` shares with `to`, as a reconciliation would; resolves when no view waits to be computed. */
export async function give(from: OrgNode, to: OrgNode): Promise<InboundOutcome[]> {
  const outwards = from.node.peers.pairing(to.peerId);
  const inwards = to.node.peers.pairing(from.peerId);
  if (!outwards || !inwards) return [];
  return send(to, from.peerId, await shared(from.node, outwards), inwards);
}

export async function send(
  to: OrgNode,
  peerId: string,
  statements: readonly WireStatement[],
  pairing = to.node.peers.pairing(peerId)!,
): Promise<InboundOutcome[]> {
  const outcomes = await to.node.inbound.admit({ peerId, pairing }, statements);
  await to.node.settled();
  return outcomes;
}

/** How it went, shortly: the code of what was refused, else the status. */
export function codes(outcomes: readonly InboundOutcome[]): string[] {
  return outcomes.map((outcome) => (outcome.status === 'refused' ? outcome.code : outcome.status));
}

/** A reading some milliseconds after (before) the moment of a clock. */
export function at(clock: TestClock, ms = 0, counter = 0): string {
  return formatHlc(clock.ms + ms, counter);
}
