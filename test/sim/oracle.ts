import type { PeerTerms } from '../../src/policy/sharing.ts';

/**
 * Who may hold what, written from the text of the specification (mesh, "Sets") and from nothing else: it shares no line
 * with `setOf` and `isShared`, which it is there to check.
 */

/** A statement as its signed bytes say. */
export interface Said {
  readonly kind: string;
  readonly org: string;
  readonly origin: string;
  readonly hlc: string;
  readonly audience: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly ext?: Readonly<Record<string, unknown>>;
}

/** A daemon, as far as the rules look at it. */
export interface Holder {
  readonly peerId: string;
  readonly org: string;
}

export function parseSaid(bytes: Uint8Array): Said {
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Said;
}

/** The audience that counts: a garden narrows every scope, a word about what is another organisation's stays at home. */
export function audienceOf(said: Said): 'local' | 'team' | 'company' | 'public' | 'garden' | 'own' {
  const { audience } = said;
  if (audience === 'local') return 'local';
  if (said.ext?.garden_id !== undefined) return 'garden';
  if (speaksForOthers(said)) return 'own';
  if (audience === 'team' || audience === 'company' || audience === 'public') return audience;
  throw new Error(`no audience: ${audience}`);
}

/** What stands before the first colon of the relation; `stigmem` for what is no fact and no resolution. */
export function namespaceOf({ kind, body }: Said): string {
  if (kind !== 'fact' && kind !== 'resolution') return 'stigmem';
  const relation = body.relation as string;
  const at = relation.indexOf(':');
  return at < 0 ? '' : relation.slice(0, at);
}

/** The one set a statement is in; null: none. */
export function setNameOf(said: Said): string | null {
  const audience = audienceOf(said);
  if (audience === 'local') return null;
  const name = `${audience}/${said.org}/${namespaceOf(said)}`;
  return audience === 'garden' ? `${name}/${String(said.ext!.garden_id)}` : name;
}

/** Whether a daemon may hold a statement at all, whatever was agreed with whom and when. */
export function mayEverHold(said: Said, holder: Holder): boolean {
  if (said.origin === holder.peerId && said.org === holder.org) return true;
  const audience = audienceOf(said);
  if (audience === 'local') return false;
  if (said.org === holder.org) return true;
  return audience !== 'garden' && audience !== 'own';
}

/**
 * Whether a daemon may have taken a statement from another one, when the sender's operator had decided any of `theirs` and
 * the receiver's any of `ours`.
 */
export function mayTake(
  said: Said,
  { from, to }: { readonly from: Holder; readonly to: Holder },
  { theirs, ours }: { readonly theirs: readonly PeerTerms[]; readonly ours: readonly PeerTerms[] },
): boolean {
  if (!mayEverHold(said, to) || !mayEverHold(said, from)) return false;
  const audience = audienceOf(said);
  if (audience === 'local') return false;
  // Daemons of one organisation replicate whatever is theirs, and what is public.
  if (from.org === to.org) return said.org === to.org || audience === 'public';
  const flows = (sender: readonly PeerTerms[], receiver: readonly PeerTerms[]): boolean =>
    sender.some((one) => receiver.some((other) => mayFlow(said, audience, one, other)));
  // What an organisation said may come back to it by the way it went.
  if (said.org === to.org) return flows(ours, theirs);
  // Receivers of company and team statements never pass them on.
  if (audience !== 'public' && said.org !== from.org) return false;
  return flows(theirs, ours);
}

/** A flows to B what A gives and B takes, in the namespaces that both name. */
function mayFlow(said: Said, audience: string, sender: PeerTerms, receiver: PeerTerms): boolean {
  if (!(sender.gives as readonly string[]).includes(audience)) return false;
  if (!(receiver.takes as readonly string[]).includes(audience)) return false;
  const namespace = namespaceOf(said);
  // Nobody believes anybody without manifests: public protocol statements are part of every agreement.
  if (namespace === 'stigmem' && audience === 'public') return true;
  return [sender, receiver].every(({ namespaces }) => namespaces === null || namespaces.includes(namespace));
}

/** Whether it claims something about a formal entity of another organisation, or names a source there. */
function speaksForOthers({ kind, org, body }: Said): boolean {
  const isForeign = (uri: unknown): boolean => {
    const [, authority] = /^stigmem:\/\/([^/]+)/.exec(String(uri)) ?? [];
    return authority !== undefined && authority !== org && !authority.endsWith(`.${org}`);
  };
  if (kind === 'fact' && body.confidence !== 0 && isForeign(body.entity)) return true;
  return (kind === 'fact' || kind === 'resolution') && isForeign(body.source);
}
