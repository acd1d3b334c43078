import type { SetCommit, SetsService } from '../../src/node/mesh-services.ts';
import type { Pairing } from '../../src/policy/sharing.ts';
import { digestOfKey, END_KEY, FIRST_KEY, hlcOfKey, type Key } from '../../src/sync/key.ts';
import { SetIndex } from '../../src/sync/set-index.ts';
import type { MeshParts, SimDaemonInit } from './daemon.ts';

type Tamper = NonNullable<SimDaemonInit['tamper']>;
type NodeParts = MeshParts['node'];

/** Daemons that do not keep to the rules: the real mesh over a node that lies to it. */

/** Takes part in everything, and hides every other statement: from its index, from its answers, from its pushes. */
export const withhold: Tamper = (parts) =>
  withSets(parts, (sets) => ({
    list: (pairing) => sets.list(pairing).map(({ set, index }) => ({ set, index: filtered(index, isShown) })),
    read: async (pairing, digests) =>
      (await sets.read(pairing, digests)).map((one, at) => (isShown(digests[at]!) ? one : undefined)),
    on: (listener) => sets.on((commits) => listener(commits.filter(({ digest }) => isShown(digest)))),
  }));

/** Claims to hold what it does not: counts and fingerprints of nothing, and no statement when it is asked. */
export const invent: Tamper = (parts) =>
  withSets(parts, (sets) => ({
    list: (pairing) => sets.list(pairing).map(({ set, index }) => ({ set, index: padded(index) })),
  }));

/** Answers every question for statements with nothing, and passes nothing on, but keeps its connections and takes all. */
export const mute: Tamper = (parts) => ({
  ...withSets(parts, (sets) => ({
    read: async (_, digests) => digests.map(() => undefined),
    on: () => () => {},
    list: (pairing) => sets.list(pairing),
  })),
  transport: silent(parts.transport),
});

/** Passes on all that it holds, whoever it was meant for. */
export const overshare: Tamper = (parts) => {
  const everything = (pairing: Pairing): Pairing => {
    const all = {
      gives: ['team', 'company', 'public'],
      takes: ['team', 'company', 'public'],
      namespaces: null,
    } as const;
    return { ...pairing, ours: all, theirs: all };
  };
  return { ...parts, peering: withPairing(parts.peering, everything) };
};

/** Sends statements with a bit changed, under the signature of the original. */
export const forge: Tamper = (parts) =>
  withSets(parts, (sets) => ({
    on: (listener) => sets.on((commits) => listener(commits.map(forged))),
    read: async (pairing, digests) =>
      (await sets.read(pairing, digests)).map((one) => one && { bytes: altered(one.bytes), sig: one.sig }),
  }));

/** Sends all it ever had again whenever it has something to send. */
export const replay: Tamper = (parts) => {
  const sent: SetCommit[] = [];
  return withSets(parts, (sets) => ({
    on: (listener) =>
      sets.on((commits) => {
        sent.push(...commits);
        // From now on as its own, so that it goes to whoever it came from as well.
        listener(sent.map((commit) => ({ ...commit, receivedFrom: null })));
      }),
  }));
};

export const LIARS = { withhold, invent, mute, overshare, forge, replay } as const;
export type Lie = keyof typeof LIARS;

/** The same parts, with some of what the sets say replaced. */
export function withSets(parts: MeshParts, replace: (sets: SetsService) => Partial<SetsService>): MeshParts {
  const { node } = parts;
  const { inbound, manifests, writer, sets } = node;
  const replaced = replace(sets);
  const false_: SetsService = {
    get ready() {
      return sets.ready;
    },
    get isReady() {
      return sets.isReady;
    },
    get size() {
      return sets.size;
    },
    get: replaced.get ?? ((name) => sets.get(name)),
    list: replaced.list ?? ((pairing) => sets.list(pairing)),
    read: replaced.read ?? ((pairing, digests) => sets.read(pairing, digests)),
    on: replaced.on ?? ((listener) => sets.on(listener)),
  };
  const nodeParts: NodeParts = { inbound, manifests, writer, sets: false_ };
  return { ...parts, node: nodeParts };
}

/** A view of who is who in which every pairing is another one. */
export function withPairing(
  peering: MeshParts['peering'],
  change: (pairing: Pairing, peerId: string) => Pairing,
): MeshParts['peering'] {
  return {
    admits: (peerId) => peering.admits(peerId),
    pairing: (peerId) => {
      const pairing = peering.pairing(peerId);
      return pairing && change(pairing, peerId);
    },
    active: () => peering.active().map((peer) => ({ ...peer, pairing: change(peer.pairing, peer.peerId) })),
    isSettling: (peerId) => peering.isSettling(peerId),
    ban: (peerId, until) => peering.ban(peerId, until),
    on: (listener) => peering.on(listener),
  };
}

function silent(transport: MeshParts['transport']): MeshParts['transport'] {
  const { gossip } = transport;
  const mute = {
    publish: async () => 1,
    setScorer: gossip.setScorer.bind(gossip),
    onMessage: ((consume, admits) =>
      gossip.onMessage(async (data, from) => {
        await consume(data, from);
        return 'ignore';
      }, admits)) as typeof gossip.onMessage,
  };
  return new Proxy(transport, {
    get: (target, name) => {
      if (name === 'gossip') return mute;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Half of all statements, always the same ones. */
function isShown(digest: Uint8Array): boolean {
  return digest[0]! % 2 === 0;
}

function filtered(index: SetIndex, isIn: (digest: Uint8Array) => boolean): SetIndex {
  const copy = new SetIndex(index.name);
  for (const key of keysOf(index)) if (isIn(digestOfKey(key))) copy.insert(hlcOfKey(key), digestOfKey(key));
  return copy;
}

/** With one item beside each that is there, of which nobody knows a statement. */
function padded(index: SetIndex): SetIndex {
  const copy = filtered(index, () => true);
  for (const key of keysOf(index)) {
    const digest = digestOfKey(key);
    digest[31]! ^= 1;
    copy.insert(hlcOfKey(key), digest);
  }
  return copy;
}

function keysOf(index: SetIndex): Key[] {
  return index.descending(FIRST_KEY, END_KEY, index.count);
}

function forged(commit: SetCommit): SetCommit {
  return { ...commit, bytes: altered(commit.bytes) };
}

/** Another confidence, or another word: well-formed, and not what was signed. */
function altered(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('utf8');
  return Buffer.from(text.replace('"value ', '"valve ').replace('"instead ', '"indeed! '));
}
