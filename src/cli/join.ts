import type { z } from 'zod';
import type { joined } from '../api/schema/federation.ts';
import type { wellKnown } from '../api/schema/records.ts';
import { isPrivateAddr } from '../identity/addr-class.ts';
import { fingerprint } from '../identity/fingerprint.ts';
import { decodeInvite, type Invite } from '../identity/invite.ts';
import { confirm, Questions } from './confirm.ts';
import { usage } from './errors.ts';
import { MAX_INVITE_FILE_BYTES } from './limits.ts';
import { readSource, readText } from './lines.ts';
import { shortPeer, stateText, termsText } from './peer-text.ts';
import type { Session } from './session.ts';
import { namespacesOf, type TermsOptions, termsBody } from './terms.ts';
import { counted } from './text.ts';

export interface JoinOptions extends TermsOptions {
  readonly file?: string;
  readonly yes?: boolean;
  readonly allowPrivate?: boolean;
}

/** Pairs this daemon with the one that made an invite. Nothing is dialled before somebody agreed to what the invite says. */
export async function join(session: Session, argument: string | undefined, options: JoinOptions): Promise<void> {
  const { out, world } = session;
  const questions = new Questions(session);
  try {
    const text = await inviteText(session, questions, argument, options.file);
    const invite = decodeInvite(text, world.now());
    const client = await session.client();
    // Before anybody is asked to trust: is there a daemon that could join, and is it another one?
    const self = await client.get<z.output<typeof wellKnown>>('/.well-known/stigmem');
    if (self.peer_id === invite.peerId) {
      throw usage('this invite was made here', 'paste it where the other organisation runs its daemon');
    }
    const gives = options.gives ?? ['public'];
    const takes = options.takes ?? invite.gives;
    const isNear = invite.addrs.length > 0 && invite.addrs.every(isPrivateAddr);
    const back = termsText(gives, namespacesOf(options.namespaces));
    const asks = !options.yes;
    if (asks || (!out.json && !out.quiet)) for (const line of offer(invite, isNear)) out.note(line);
    await confirm(questions, {
      yes: !asks,
      what: `you would share ${back} with ${invite.org}`,
      question: `You will share back: ${back}.    Trust this peer?`,
    });
    // Whoever was shown where the addresses lead and said yes has allowed them.
    const allowPrivate = options.allowPrivate ?? (asks && isNear);
    const body = { ...termsBody({ ...options, gives, takes }, world.now()), invite: text, allow_private: allowPrivate };
    const answer = await client.post<z.output<typeof joined>>('/v1/federation/join', body, { bulk: true });
    await out.answer({ json: answer, quiet: answer.peer.peer_id, human: () => [outcome(session, answer)] });
  } finally {
    await questions.close();
  }
}

async function inviteText(
  session: Session,
  questions: Questions,
  argument: string | undefined,
  file: string | undefined,
): Promise<string> {
  if (file !== undefined && argument !== undefined) throw usage('the invite is given twice', 'leave one of them out');
  const { stdin } = session.world;
  const source = file ?? (argument === '-' ? '-' : undefined);
  if (source === '-' && questions.canAsk) return questions.ask('Invite:');
  if (source !== undefined) return (await readText(readSource(source, stdin), MAX_INVITE_FILE_BYTES)).trim();
  if (argument !== undefined) return argument;
  if (questions.canAsk) return questions.ask('Invite:');
  throw usage('the invite is missing', 'give it on stdin (stigmesh join - < file), by --file, or as argument');
}

function offer(invite: Invite, isNear: boolean): string[] {
  const { org, peerId, orgKey, gives, namespaces, addrs } = invite;
  return [
    `Peer  ${org}  ${shortPeer(peerId)}   fingerprint ${fingerprint(orgKey)}  (compare with what they see)`,
    `They offer ${termsText(gives, namespaces)}.`,
    ...(isNear ? [`Its addresses are on this machine or a private network: ${addrs.map(bare).join(', ')}`] : []),
  ];
}

const bare = (addr: string): string => addr.replace(/\/p2p\/[^/]+$/, '');

function outcome(session: Session, { peer, first_sync: first }: z.output<typeof joined>): string {
  const { done } = session.out;
  const sync =
    first === null
      ? `first sync goes on by itself: stigmesh peers show ${peer.org}`
      : `${done} first sync: ${counted(first.received, 'statement')} in ${Math.round(first.ms)} ms`;
  const declared = peer.state === 'active' ? `${done} declarations exchanged` : stateText(peer);
  return [...(peer.connected ? [`${done} connected (noise, direct)`] : []), declared, sync].join('   ');
}
