import type { Command } from 'commander';
import type { z } from 'zod';
import type { discovered, peerApproved, peerRegistered } from '../../api/schema/federation.ts';
import type { Cli } from '../cli.ts';
import { confirmOnce } from '../confirm.ts';
import { usage } from '../errors.ts';
import type { Output } from '../output.ts';
import { findPeer, listPeers, PEER_ARGUMENT, peerPath } from '../peer-name.ts';
import {
  addressText,
  ageText,
  behindText,
  lagText,
  lastSyncText,
  type Peer,
  refusedText,
  roundTripText,
  scopeText,
  shortPeer,
  shownPeer,
  stateText,
  termsText,
} from '../peer-text.ts';
import type { Session } from '../session.ts';
import { addTerms, type TermsOptions, termsBody } from '../terms.ts';
import { counted } from '../text.ts';

interface YesOption {
  readonly yes?: boolean;
}

const YES = ['--yes', 'do not ask'] as const;
const EXPIRES = ['--expires <when>', 'span (30d), RFC 3339 instant, or never'] as const;

export function define(command: Command, cli: Cli): void {
  command.description(
    'List the daemons this one shares facts with, decide about those that ask, and change or end what is shared. ' +
      'Without a command: list. Takes the permission federate or admin.',
  );
  defineList(command.command('list', { isDefault: true }), command, cli);
  defineShow(command.command('show'), cli);
  defineApprove(command.command('approve'), cli);
  defineSet(command.command('set'), cli);
  defineSuspension(command.command('suspend'), cli, true);
  defineSuspension(command.command('resume'), cli, false);
  defineRemove(command.command('remove'), cli);
  defineDiscover(command.command('discover'), cli);
  defineAdd(command.command('add'), cli);
}

function defineList(command: Command, parent: Command, cli: Cli): void {
  command
    .summary('list the peers')
    .description(
      'List the peers: state, what is given and taken, how far behind they are (they, then we), the last ' +
        'reconciliation, refused statements.',
    )
    .option('--all', 'also those that were removed')
    // A mistyped command arrives here, because list is the default.
    .allowExcessArguments()
    .action(
      cli.action<{ all?: boolean }>(async (session, _args, options, self) => {
        const [stray] = self.args;
        if (stray !== undefined) {
          const { unknownCommand } = await import('../stray.ts');
          throw await unknownCommand(parent, stray);
        }
        const { out, world } = session;
        const client = await session.client();
        const every = await listPeers(client);
        const peers = options.all ? every : every.filter(({ state }) => state !== 'revoked');
        await out.answer({
          json: { peers },
          quiet: peers.map(({ peer_id }) => peer_id),
          human: () => (peers.length === 0 ? [] : peerTable(out, peers, world.now())),
        });
        if (out.json || out.quiet) return;
        if (peers.length === 0) out.note('no peers; to pair with one: stigmesh invite, or stigmesh join');
        for (const { peer_id, fingerprint } of peers.filter(
          ({ state, approved }) => state === 'pending' && !approved,
        )) {
          const name = shortPeer(peer_id);
          const compare = fingerprint === null ? 'compare its peer id' : `compare ${fingerprint} with what they see`;
          out.note(`${name} asks to be a peer: ${compare}, then stigmesh peers approve ${name}`);
        }
      }),
    );
}

function peerTable(out: Output, peers: readonly Peer[], now: number): string[] {
  return out.table(
    [
      { title: 'STATE', min: 6 },
      { title: 'ORG', min: 6 },
      { title: 'PEER' },
      { title: 'ADDRESS', min: 6 },
      { title: 'RTT' },
      { title: 'GIVES / TAKES', min: 8 },
      { title: 'LAG', min: 3 },
      { title: 'LAST SYNC', min: 6 },
      { title: 'REFUSED', min: 3 },
    ],
    peers.map((peer) => [
      stateText(peer),
      peer.org ?? '',
      shownPeer(out, peer.peer_id),
      addressText(peer),
      roundTripText(peer.round_trip_ms),
      `${scopeText(peer.gives)} / ${termsText(peer.takes, peer.namespaces)}`,
      lagText(peer.lag),
      lastSyncText(peer, now),
      refusedText(peer.refused),
    ]),
  );
}

function peerLines(out: Output, peer: Peer, now: number): string[] {
  const { theirs, lag } = peer;
  return out.record([
    ['peer', peer.peer_id],
    ['org', peer.org ?? 'not declared yet'],
    ['fingerprint', peer.fingerprint ?? undefined],
    ['state', `${stateText(peer)}, by ${peer.via}`],
    ['connection', peer.connected ? `${addressText(peer)}  ${roundTripText(peer.round_trip_ms)}`.trim() : 'none'],
    ['addresses', peer.addrs.length === 0 ? undefined : peer.addrs],
    ['we give', termsText(peer.gives, peer.namespaces)],
    ['we take', termsText(peer.takes, peer.namespaces)],
    ['until', peer.expires_at ?? undefined],
    ['they give', theirs === null ? undefined : termsText(theirs.gives, theirs.namespaces)],
    ['they take', theirs === null ? undefined : termsText(theirs.takes, theirs.namespaces)],
    ['their until', theirs?.expires_at ?? undefined],
    ['flows', `out ${scopeText(peer.flows.out)}; in ${scopeText(peer.flows.in)}`],
    ['they are', behindText(lag.out_statements, lag.out_seconds)],
    ['we are', behindText(lag.in_statements, lag.in_seconds)],
    ['last sync', lastSyncText(peer, now)],
    ['refused', refusedText(peer.refused) || undefined],
    ['score', peer.score === 0 ? undefined : String(peer.score)],
    ['last seen', peer.last_seen_at === null ? 'never' : ageText(peer.last_seen_at, now)],
    ['known since', peer.created_at],
  ]);
}

function defineShow(command: Command, cli: Cli): void {
  command
    .summary('show one peer')
    .description('Show one peer: who it is, what each side declared, what flows, how it goes.')
    .argument('<peer>', PEER_ARGUMENT)
    .action(
      cli.action(async (session, [name]) => {
        const { out, world } = session;
        const peer = await findPeer(await session.client(), name as string);
        await out.answer({ json: peer, quiet: peer.state, human: () => peerLines(out, peer, world.now()) });
      }),
    );
}

/** The answer to every change: what the peer is now. */
async function showChange(session: Session, peer: Peer, done: string): Promise<void> {
  const { out } = session;
  await out.answer({
    json: peer,
    quiet: peer.state,
    human: () => [`${out.done} ${shortPeer(peer.peer_id)}${peer.org === null ? '' : `  ${peer.org}`}  ${done}`],
  });
}

function termsDone(peer: Peer): string {
  return `${stateText(peer)}: we give ${termsText(peer.gives, peer.namespaces)}; we take ${termsText(peer.takes, peer.namespaces)}`;
}

function defineApprove(command: Command, cli: Cli): void {
  addTerms(
    command
      .summary('approve a peer that asks')
      .description(
        'Approve a peer that asks to be one. Compare the fingerprint with what its operator sees first. Facts flow once ' +
          'both sides have approved. Also the way back for a peer that was removed.',
      )
      .argument('<peer>', PEER_ARGUMENT),
    {
      gives: ['--gives <scopes>', 'scopes we give (default: public)'],
      takes: 'scopes we take (default: company,public)',
    },
  )
    .option(...EXPIRES)
    .option('--fingerprint <fingerprint>', 'approve only the organisation with this fingerprint; nobody is asked')
    .option(...YES)
    .action(
      cli.action<TermsOptions & YesOption & { fingerprint?: string }>(async (session, [name], options) => {
        const { out, world } = session;
        const client = await session.client();
        const peer = await findPeer(client, name as string);
        const terms = termsBody(options, world.now());
        const gives = scopeText((terms.gives as string[] | undefined) ?? ['public']);
        const asks = !options.yes && options.fingerprint === undefined;
        if (asks) {
          out.note(`Peer  ${peer.org ?? 'organisation not declared yet'}  ${peer.peer_id}`);
          if (peer.fingerprint !== null) out.note(`fingerprint ${peer.fingerprint}  (compare with what they see)`);
        }
        await confirmOnce(session, {
          yes: !asks,
          what: `it would be given ${gives}`,
          question: `You will share ${gives}. Trust this peer?`,
        });
        const compared = options.fingerprint ?? peer.fingerprint;
        const approved = await client.post<z.output<typeof peerApproved>>(peerPath(peer.peer_id, 'approve'), {
          ...terms,
          ...(compared === null ? {} : { pubkey_fingerprint: compared }),
        });
        await showChange(session, approved, termsDone(approved));
      }),
    );
}

function defineSet(command: Command, cli: Cli): void {
  addTerms(
    command
      .summary('change what is shared with a peer')
      .description('Change what is shared with a peer. It holds at once, also on a live connection.')
      .argument('<peer>', PEER_ARGUMENT),
    { gives: ['--gives <scopes>', 'scopes we give, or none'], takes: 'scopes we take, or none' },
  )
    .option(...EXPIRES)
    .option('--address <multiaddr>', 'where it listens; again for further ones', repeated)
    .action(
      cli.action<TermsOptions & { address?: string[] }>(async (session, [name], options) => {
        const { address } = options;
        const patch = {
          ...termsBody(options, session.world.now()),
          ...(address === undefined ? {} : { addrs: address }),
        };
        if (Object.keys(patch).length === 0) {
          throw usage('nothing to change', 'give --gives, --takes, --namespaces, --expires or --address');
        }
        const client = await session.client();
        const { peer_id } = await findPeer(client, name as string);
        const peer = await client.patch<Peer>(peerPath(peer_id), patch);
        await showChange(session, peer, termsDone(peer));
      }),
    );
}

function defineSuspension(command: Command, cli: Cli, suspended: boolean): void {
  command
    .summary(suspended ? 'stop sharing with a peer for now' : 'share with a suspended peer again')
    .description(
      suspended
        ? 'Stop sharing with a peer, at once, until stigmesh peers resume.'
        : 'Share with a suspended peer again, on the terms there were.',
    )
    .argument('<peer>', PEER_ARGUMENT)
    .action(
      cli.action(async (session, [name]) => {
        const client = await session.client();
        const { peer_id } = await findPeer(client, name as string);
        const peer = await client.patch<Peer>(peerPath(peer_id), { suspended });
        await showChange(session, peer, stateText(peer));
      }),
    );
}

function defineRemove(command: Command, cli: Cli): void {
  command
    .summary('cut a peer off')
    .description(
      'Cut a peer off: its connection is closed and what it signs from now on is refused. Facts of it that are here stay.',
    )
    .argument('<peer>', PEER_ARGUMENT)
    .option(...YES)
    .action(
      cli.action<YesOption>(async (session, [name], options) => {
        const client = await session.client();
        const { peer_id, org } = await findPeer(client, name as string);
        await confirmOnce(session, {
          yes: options.yes ?? false,
          what: 'it would be disconnected, and refused from now on',
          question: `Remove ${shortPeer(peer_id)}${org === null ? '' : ` of ${org}`}?`,
        });
        const peer = await client.delete<Peer>(peerPath(peer_id));
        await showChange(session, peer, 'removed; what it said before stays');
      }),
    );
}

function defineDiscover(command: Command, cli: Cli): void {
  command
    .summary('look for daemons on the network')
    .description('Look for daemons on the network. Being found grants nothing: pair with one by an invite.')
    .argument('[org]', 'only daemons of this organisation')
    .action(
      cli.action(async (session, [org]) => {
        const { out } = session;
        const client = await session.client();
        const answer = await client.get<z.output<typeof discovered>>('/v1/federation/discover', {
          query: { org },
          bulk: true,
        });
        const { peers } = answer;
        await out.answer({
          json: answer,
          quiet: peers.map(({ peer_id }) => peer_id),
          human: () =>
            peers.length === 0
              ? []
              : out.table(
                  [
                    { title: 'ORG', min: 8 },
                    { title: 'FINGERPRINT' },
                    { title: 'PEER' },
                    { title: 'ADDRESS', min: 10 },
                    { title: 'FOUND BY' },
                    { title: 'STATE' },
                  ],
                  peers.map((each) => [
                    each.org ?? 'unknown',
                    each.fingerprint ?? '',
                    shownPeer(out, each.peer_id),
                    addressText({ ...each, remote_addr: null }),
                    each.via,
                    each.state ?? 'no peer',
                  ]),
                ),
        });
        if (!out.json && !out.quiet) {
          out.note(peers.length === 0 ? 'nobody was found' : `${counted(peers.length, 'daemon')} found`);
        }
      }),
    );
}

function defineAdd(command: Command, cli: Cli): void {
  addTerms(
    command
      .summary('declare a peer without an invite')
      .description(
        'Declare a peer by its id, without an invite. It becomes active once its operator has declared this daemon as well ' +
          '(stigmesh status shows its peer id).',
      )
      .argument('<peer>', 'peer id, or a multiaddr that ends in /p2p/ and the peer id')
      .argument('[address...]', 'multiaddrs where it listens, such as /ip4/192.0.2.7/tcp/4701'),
    {
      gives: ['--gives <scopes>', 'scopes we give (default: public)'],
      takes: 'scopes we take (default: company,public)',
    },
  )
    .option(...EXPIRES)
    .action(
      cli.action<TermsOptions>(async (session, [name, addresses], options) => {
        const [, before, id] = /^(\/.*)\/p2p\/([^/]+)$/.exec(name as string) ?? [];
        const addrs = [...(before === undefined ? [] : [before]), ...((addresses as unknown as string[]) ?? [])];
        const client = await session.client();
        const peer = await client.post<z.output<typeof peerRegistered>>('/v1/federation/peers', {
          peer_id: id ?? name,
          addrs,
          ...termsBody(options, session.world.now()),
        });
        await showChange(session, peer, termsDone(peer));
      }),
    );
}

function repeated(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}
