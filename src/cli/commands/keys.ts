import type { Command } from 'commander';
import type { z } from 'zod';
import type { keyCreated, keyInfo } from '../../api/schema/records.ts';
import { SCOPES } from '../../facts/scope.ts';
import { PERMISSIONS } from '../../policy/principal.ts';
import { listOf } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { shortInstant } from '../text.ts';
import { instantOrSpan } from '../times.ts';

type KeyInfo = z.output<typeof keyInfo>;

interface CreateOptions {
  readonly permissions: readonly string[];
  readonly scopes?: readonly string[];
  readonly expires?: string;
  readonly description?: string;
}

export function define(command: Command, cli: Cli): void {
  const create = command.command('create');
  create
    .summary('create a key for an agent')
    .description('Create an API key. It is printed once and kept nowhere: with -q, nothing else is printed.')
    .argument('<entity>', 'who will use it, for example agent:assistant')
    .addOption(
      create
        .createOption('--permissions <list>', `any of ${PERMISSIONS.join(', ')}`)
        .argParser(replacing(listOf(PERMISSIONS)))
        .default(['read', 'write'], 'read,write'),
    )
    .option('--scopes <list>', `scopes it covers: ${SCOPES.join(', ')} (default: all)`, listOf(SCOPES))
    .option('--expires <when>', 'span (30d) or RFC 3339 instant (default: auth.key_max_age_days from now)')
    .option('--description <text>', 'what it is for')
    .action(
      cli.action<CreateOptions>(async (session, [entity], options) => {
        const { out, world } = session;
        const client = await session.client();
        const key = await client.post<z.output<typeof keyCreated>>('/v1/auth/keys', {
          entity_uri: entity,
          permissions: options.permissions,
          scopes: options.scopes,
          description: options.description,
          expires_at:
            options.expires === undefined ? undefined : instantOrSpan(options.expires, '--expires', world.now()),
        });
        await out.answer({
          json: key,
          quiet: key.api_key ?? '',
          human: () => [
            key.api_key ?? '',
            ...out.record([
              ['id', key.id],
              ['for', key.entity_uri],
              ['permissions', key.permissions.join(', ')],
              ['scopes', key.scopes.join(', ')],
              ['expires', key.expires_at ?? 'never'],
            ]),
          ],
        });
        if (!out.quiet && !out.json)
          out.note('The key is shown this once. Put it into a file of mode 0600, not into a command line.');
      }),
    );
  command
    .command('list')
    .summary('list keys')
    .description(
      'List your API keys; as an admin, with --all, every key. Secrets are not shown: the daemon does not know them.',
    )
    .option('--all', 'keys of everybody; takes the permission admin')
    .action(
      cli.action<{ all?: boolean }>(async (session, _args, options) => {
        const { out } = session;
        const client = await session.client();
        const keys = await client.get<KeyInfo[]>('/v1/auth/keys', { query: { all: options.all } });
        await out.answer({
          json: keys,
          quiet: keys.map(({ id }) => id),
          human: () =>
            out.table(
              [
                { title: 'ID' },
                { title: 'FOR', min: 10 },
                { title: 'PERMISSIONS', min: 10 },
                { title: 'SCOPES', min: 6 },
                { title: 'EXPIRES', min: 10 },
                { title: 'STATE' },
                { title: 'DESCRIPTION', min: 6 },
              ],
              keys.map((key) => [
                key.id,
                key.entity_uri,
                key.permissions.join(','),
                key.scopes.join(','),
                key.expires_at === null ? 'never' : shortInstant(key.expires_at),
                stateOf(key, session.world.now()),
                key.description ?? '',
              ]),
            ),
        });
      }),
    );
  command
    .command('revoke')
    .summary('revoke a key')
    .description('Revoke a key, at once and for good. Whoever follows events with it is cut off within seconds.')
    .argument('<key id>', 'as keys list shows it')
    .action(
      cli.action(async (session, [id]) => {
        const { out } = session;
        const client = await session.client();
        await client.delete(`/v1/auth/keys/${segment(id as string)}`);
        await out.answer({ json: { revoked: id }, quiet: id as string, human: () => [`${out.done} revoked`] });
      }),
    );
}

function stateOf(key: KeyInfo, now: number): string {
  if (key.revoked_at !== null) return 'revoked';
  return key.expires_at !== null && Date.parse(key.expires_at) <= now ? 'expired' : 'active';
}

/** The first use of a list option replaces its default; further ones add. */
function replacing(parse: (text: string, before?: readonly string[]) => string[]) {
  let given: string[] | undefined;
  return (text: string): string[] => {
    given = parse(text, given);
    return given;
  };
}
