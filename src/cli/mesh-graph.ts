import type { z } from 'zod';
import type { meshStatus } from '../api/schema/federation.ts';
import type { wellKnown } from '../api/schema/records.ts';
import type { Output } from './output.ts';
import { ageText, behindText, type Peer, roundTripText, shortPeer, stateText } from './peer-text.ts';
import { namespaceText } from './terms.ts';
import { clip, displayWidth, printable } from './text.ts';

export interface MeshPicture {
  readonly node: z.output<typeof wellKnown>;
  readonly status: z.output<typeof meshStatus>;
  readonly peers: readonly Peer[];
  /** Unix ms. */
  readonly now: number;
}

/** Those that facts flow with come first, then those that wait for a decision. */
const ORDER: readonly Peer['state'][] = ['active', 'pending', 'suspended', 'expired', 'revoked'];

/**
 * The mesh as lines: this node as a trunk, and for each peer two arrows, what goes out and what comes in.
 *
 * ```text
 * ● acme.example  12D3KooWJ8ab…1qk2   (this node)
 * │   /ip4/192.0.2.10/tcp/4701
 * │
 * ├── company, public ──▶ ● other.example  12D3KooWGvCZ…d8Tc
 * ├◀─ public ────────────   active, 12 ms; they are 3 statements behind
 * ```
 */
export function meshLines(out: Output, { node, status, peers, now }: MeshPicture): string[] {
  const sorted = [...peers].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  const width = Math.max(0, ...sorted.flatMap((peer) => [outText(peer), inText(peer)].map(displayWidth)));
  const suffix = `/p2p/${node.peer_id}`;
  const addresses = status.addrs.map((addr) => (addr.endsWith(suffix) ? addr.slice(0, -suffix.length) : addr));
  const lines = [
    `${status.enabled ? '●' : '○'} ${printable(node.org)}  ${shortPeer(node.peer_id)}   (this node)`,
    ...addresses.map((addr) => `│   ${printable(addr)}`),
    ...sorted.flatMap((peer) => ['│', ...peerLines(peer, width, now)]),
  ];
  return out.width === undefined ? lines : lines.map((line) => clip(line, out.width as number));
}

function peerLines(peer: Peer, width: number, now: number): string[] {
  const line = peer.state === 'active' ? '─' : '┄';
  const filled = (text: string) => `${text} ${line.repeat(width - displayWidth(text) + 1)}`;
  const name = peer.org ?? 'unknown organisation';
  return [
    `├${line}${line} ${filled(outText(peer))}${line}▶ ${peer.connected ? '●' : '○'} ${printable(name)}  ${shortPeer(peer.peer_id)}`,
    `├◀${line} ${filled(inText(peer))}${line}    ${printable(details(peer, now))}`,
  ];
}

/** Columns that an arrow's text takes at most: a list of namespaces may be long. */
const MAX_FLOW_COLUMNS = 40;

const flowText = (scopes: readonly string[], namespaces: string): string =>
  scopes.length === 0 ? 'nothing' : `${scopes.join(', ')}${namespaces}`;

/** The namespaces that both sides name; empty when neither names any. */
function namespacesOf({ namespaces: ours, theirs }: Peer): string {
  const other = theirs?.namespaces ?? null;
  if (ours === null && other === null) return '';
  const both = ours === null ? (other ?? []) : other === null ? ours : ours.filter((name) => other.includes(name));
  return both.length === 0 ? ' of no namespace' : ` of ${namespaceText(both)}`;
}

const shown = (text: string): string => clip(printable(text), MAX_FLOW_COLUMNS);
const outText = (peer: Peer): string => shown(flowText(peer.flows.out, namespacesOf(peer)));
const inText = (peer: Peer): string => shown(flowText(peer.flows.in, namespacesOf(peer)));

function details(peer: Peer, now: number): string {
  const { lag, state, connected, last_seen_at } = peer;
  const state_ = [stateText(peer), roundTripText(peer.round_trip_ms)].filter((text) => text !== '').join(', ');
  if (state !== 'active') return state_;
  if (!connected) return `${state_}, ${last_seen_at === null ? 'never seen' : `seen ${ageText(last_seen_at, now)}`}`;
  const they = behindText(lag.out_statements, lag.out_seconds);
  const we = behindText(lag.in_statements, lag.in_seconds);
  if (they === 'in step' && we === 'in step') return `${state_}; in step`;
  return [
    state_,
    ...(they === undefined || they === 'in step' ? [] : [`they are ${they}`]),
    ...(we === undefined || we === 'in step' ? [] : [`we are ${we}`]),
  ].join('; ');
}
