import type { z } from 'zod';
import type { peerLag, peerRecord } from '../api/schema/federation.ts';
import type { Output } from './output.ts';
import { namespaceText } from './terms.ts';
import { counted, duration, shortId } from './text.ts';

/** Peers as people read them. */

export type Peer = z.output<typeof peerRecord>;
type Lag = z.output<typeof peerLag>;

/** All peer ids begin alike: enough to tell one from its neighbours, and to be typed. */
export function shortPeer(peerId: string): string {
  return shortId(peerId, 12, 4);
}

/** The whole id where nothing is cut: scripts read that. */
export function shownPeer(out: Output, peerId: string): string {
  return out.width === undefined ? peerId : shortPeer(peerId);
}

export function scopeText(scopes: readonly string[]): string {
  return scopes.length === 0 ? 'nothing' : scopes.join(', ');
}

/** `public, company`, with the namespaces where not all are meant. */
export function termsText(scopes: readonly string[], namespaces: readonly string[] | null): string {
  const all = namespaces === null || scopes.length === 0;
  return all ? scopeText(scopes) : `${scopeText(scopes)} of ${namespaceText(namespaces)}`;
}

export function roundTripText(ms: number | null): string {
  return ms === null ? '' : `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
}

/** One direction: how many statements, and since when. Undefined: not known. */
export function behindText(statements: number | null, seconds: number | null): string | undefined {
  if (statements === 0) return 'in step';
  const parts = [
    ...(statements === null ? [] : [counted(statements, 'statement')]),
    ...(seconds === null || seconds === 0 ? [] : [duration(seconds)]),
  ];
  return parts.length === 0 ? undefined : `${parts.join(', ')} behind`;
}

/** Both directions in one cell: they, then we. */
export function lagText(lag: Lag): string {
  const they = behindText(lag.out_statements, lag.out_seconds);
  const we = behindText(lag.in_statements, lag.in_seconds);
  if (they === undefined && we === undefined) return '';
  if (they === we) return they ?? '';
  return [...(they === undefined ? [] : [`they: ${they}`]), ...(we === undefined ? [] : [`we: ${we}`])].join('; ');
}

export function ageText(instant: string, now: number): string {
  return `${duration(Math.max(0, (now - Date.parse(instant)) / 1000))} ago`;
}

/** Whether both sides hold the same now, or did until somebody wrote. */
export function isGoodSync(last: Peer['last_sync']): boolean {
  return last !== null && ['converged', 'changed'].includes(last.result);
}

export function lastSyncText({ last_sync: last }: Pick<Peer, 'last_sync'>, now: number): string {
  if (last === null) return 'never';
  const outcome = isGoodSync(last) ? `${last.sent} sent, ${last.received} received` : last.result;
  return `${ageText(last.at, now)}: ${outcome}`;
}

/** Refused statements, the most frequent reason first. */
export function refusedText(refused: Peer['refused']): string {
  return Object.entries(refused)
    .sort(([, a], [, b]) => b - a)
    .map(([code, count]) => `${code} ${count}`)
    .join(', ');
}

/** Direct address of a connection, else where it was last known to listen. */
export function addressText({ remote_addr, addrs, peer_id }: Pick<Peer, 'remote_addr' | 'addrs' | 'peer_id'>): string {
  const address = remote_addr ?? addrs[0] ?? '';
  const suffix = `/p2p/${peer_id}`;
  return address.endsWith(suffix) ? address.slice(0, -suffix.length) : address;
}

/** State with what an operator should know beside it. */
export function stateText({ state, connected, approved, theirs }: Peer): string {
  if (state === 'active') return connected ? 'active' : 'active, away';
  if (state !== 'pending') return state;
  // Both sides have to declare each other: say who has not.
  if (!approved) return 'pending, asks';
  return theirs === null ? 'pending, unanswered' : 'pending';
}
