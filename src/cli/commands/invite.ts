import type { Command } from 'commander';
import type { z } from 'zod';
import type { inviteCreated, inviteList } from '../../api/schema/federation.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { shownPeer, termsText } from '../peer-text.ts';
import { addTerms, type TermsOptions, termsBody } from '../terms.ts';
import { shortInstant } from '../text.ts';
import { spanBetween } from '../times.ts';

interface CreateOptions extends Omit<TermsOptions, 'gives'> {
  readonly scopes?: readonly string[];
  readonly expires?: string;
  readonly address?: readonly string[];
}

export function define(command: Command, cli: Cli): void {
  command.description(
    'Make an invite: one line that pairs one other daemon with this one. Without a command: create. Takes the permission ' +
      'federate or admin.',
  );
  defineCreate(command.command('create', { isDefault: true }), command, cli);
  defineList(command.command('list'), cli);
  defineRevoke(command.command('revoke'), cli);
}

function defineCreate(command: Command, parent: Command, cli: Cli): void {
  addTerms(
    command
      .summary('make an invite for one peer')
      .description(
        'Make an invite for one peer. Send it over a channel you trust: whoever uses it first is paired. It works once, and ' +
          'it is shown once. With -q, nothing else is printed.',
      ),
    {
      gives: ['--scopes <scopes>', 'scopes you offer (default: public)'],
      takes: 'scopes you take (default: as offered)',
    },
  )
    .option('--expires <span>', 'how long it works, 1m to 30d (default: mesh.invite_hours, a day)')
    .option(
      '--address <multiaddr>',
      'where this daemon is reached, instead of what it knows; again for further ones',
      repeated,
    )
    // A mistyped command arrives here, because create is the default.
    .allowExcessArguments()
    .action(
      cli.action<CreateOptions>(async (session, _args, { scopes, expires, address, ...terms }, self) => {
        const [stray] = self.args;
        if (stray !== undefined) {
          const { unknownCommand } = await import('../stray.ts');
          throw await unknownCommand(parent, stray);
        }
        const { out, world } = session;
        const client = await session.client();
        const made = await client.post<z.output<typeof inviteCreated>>('/v1/federation/invites', {
          ...termsBody({ ...terms, ...(scopes === undefined ? {} : { gives: scopes }) }, world.now()),
          expires_in: expires === undefined ? undefined : spanBetween(expires, '--expires', '1m', '30d') / 1000,
          addrs: address,
        });
        await out.answer({
          json: made,
          quiet: made.invite,
          human: () => [
            `Send this line to ONE peer over a channel you trust. It works once, until ${minute(made.expires_at)}.`,
            `  ${made.invite}`,
          ],
        });
        if (out.json || out.quiet) return;
        out.note(
          `offered: ${termsText(made.gives, made.namespaces)}; taken: ${termsText(made.takes, made.namespaces)}`,
        );
        out.note(`to take it back: stigmesh invite revoke ${made.id}`);
      }),
    );
}

function defineList(command: Command, cli: Cli): void {
  command
    .summary('list the invites that were made')
    .description('List the invites this daemon made, and who used them. The invites themselves are not kept.')
    .action(
      cli.action(async (session) => {
        const { out } = session;
        const client = await session.client();
        const answer = await client.get<z.output<typeof inviteList>>('/v1/federation/invites');
        const { invites } = answer;
        await out.answer({
          json: answer,
          quiet: invites.map(({ id }) => id),
          human: () =>
            invites.length === 0
              ? []
              : out.table(
                  [
                    { title: 'ID' },
                    { title: 'STATE' },
                    { title: 'OFFERED', min: 7 },
                    { title: 'TAKEN', min: 6 },
                    { title: 'MADE', min: 10 },
                    { title: 'UNTIL', min: 10 },
                    { title: 'BY', min: 6 },
                    { title: 'USED BY' },
                  ],
                  invites.map((each) => [
                    each.id,
                    each.state,
                    termsText(each.gives, each.namespaces),
                    termsText(each.takes, each.namespaces),
                    shortInstant(each.created_at),
                    shortInstant(each.expires_at),
                    each.created_by,
                    each.used_by === null ? '' : shownPeer(out, each.used_by),
                  ]),
                ),
        });
        if (invites.length === 0 && !out.json && !out.quiet) out.note('no invites');
      }),
    );
}

function defineRevoke(command: Command, cli: Cli): void {
  command
    .summary('take back an invite')
    .description('Take back an invite that nobody has used. A peer that used one is removed by stigmesh peers remove.')
    .argument('<invite id>', 'as invite list shows it')
    .action(
      cli.action(async (session, [id]) => {
        const { out } = session;
        const client = await session.client();
        await client.delete(`/v1/federation/invites/${segment(id as string)}`);
        await out.answer({ json: { revoked: id }, quiet: id as string, human: () => [`${out.done} revoked`] });
      }),
    );
}

/** `2026-11-22 09:14Z` */
function minute(instant: string): string {
  return instant.replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*$/, '$1 $2Z');
}

function repeated(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}
