import type { Command } from 'commander';
import type { z } from 'zod';
import type { garden, gardenMember } from '../../api/schema/records.ts';
import type { FactScope } from '../../facts/scope.ts';
import { GARDEN_ROLES } from '../../node/services.ts';
import { scopeOption } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { CliError } from '../errors.ts';
import type { Output } from '../output.ts';
import { shortInstant } from '../text.ts';

type Garden = z.output<typeof garden>;
type Member = z.output<typeof gardenMember>;

interface CreateOptions {
  readonly name?: string;
  readonly scope: FactScope;
  readonly description?: string;
  readonly quarantine?: boolean;
}

const GARDEN = 'slug or id';
const ENTITY = 'entity URI of the member';

const pathOf = (name: string | undefined, ...rest: readonly (string | undefined)[]): string =>
  ['/v1/gardens', segment(name as string), ...rest.map((part) => part as string)].join('/');
const memberPath = (name: string | undefined, entity: string | undefined): string =>
  pathOf(name, 'members', segment(entity as string));

export function define(command: Command, cli: Cli): void {
  command.description('Manage gardens: sets of facts that only their members read and write.');
  defineGardens(command, cli);
  defineMembers(command, cli);
}

function defineGardens(command: Command, cli: Cli): void {
  command
    .command('create')
    .summary('create a garden; you become its admin')
    .description('Create a garden. You become its admin.')
    .argument('<slug>', 'short name: letters, digits and hyphens')
    .option('--name <name>', 'name for people (default: the slug)')
    .addOption(scopeOption('scope of its facts', 'company'))
    .option('--description <text>', 'what it is for')
    .option('--quarantine', 'facts put here wait for a moderator')
    .action(
      cli.action<CreateOptions>(async (session, [slug], { name, ...options }) => {
        const { out } = session;
        const client = await session.client();
        const made = await client.post<Garden>('/v1/gardens', { slug, name: name ?? slug, ...options });
        await out.answer({
          json: made,
          quiet: made.garden_id,
          human: () => [`${out.done} ${made.garden_id}`],
        });
      }),
    );
  command
    .command('list')
    .summary('list the gardens you may see')
    .description('List the gardens you may see.')
    .action(
      cli.action(async (session) => {
        const { out } = session;
        const client = await session.client();
        const gardens = await client.get<Garden[]>('/v1/gardens');
        await out.answer({
          json: gardens,
          quiet: gardens.map(({ slug }) => slug),
          human: () =>
            gardens.length === 0
              ? []
              : out.table(
                  [
                    { title: 'SLUG', min: 8 },
                    { title: 'NAME', min: 8 },
                    { title: 'SCOPE' },
                    { title: 'CREATED BY', min: 8 },
                    { title: 'DESCRIPTION', min: 8 },
                  ],
                  gardens.map((each) => [each.slug, each.name, each.scope, each.created_by, each.description ?? '']),
                ),
        });
        if (gardens.length === 0 && !out.json && !out.quiet) out.note('no gardens');
      }),
    );
  command
    .command('show')
    .summary('show a garden and its members')
    .description('Show a garden and its members.')
    .argument('<garden>', GARDEN)
    .action(
      cli.action(async (session, [name]) => {
        const { out } = session;
        const client = await session.client();
        const found = await client.get<Garden>(pathOf(name));
        await out.answer({
          json: found,
          quiet: found.garden_id,
          human: () => [
            ...out.record([
              ['garden', found.garden_id],
              ['id', found.id],
              ['name', found.name],
              ['scope', found.scope],
              ['description', found.description ?? undefined],
              ['created', `${found.created_at} by ${found.created_by}`],
              ['quarantine', found.quarantine ? 'yes' : undefined],
            ]),
            '',
            ...memberTable(out, found.members),
          ],
        });
      }),
    );
  command
    .command('delete')
    .summary('delete a garden; its facts stay')
    .description('Delete a garden. Its facts stay in the log; from then on only admins of the node read them.')
    .argument('<garden>', GARDEN)
    .option('--yes', 'do not ask')
    .action(
      cli.action<{ yes?: boolean }>(async (session, [name], options) => {
        const { out } = session;
        if (!options.yes) {
          throw new CliError(
            'not_confirmed',
            'its members would lose access to all its facts',
            `repeat it with --yes, if that is what you want: stigmesh gardens delete ${name} --yes`,
          );
        }
        const client = await session.client();
        await client.delete(pathOf(name));
        await out.answer({ json: { deleted: name }, quiet: name as string, human: () => [`${out.done} deleted`] });
      }),
    );
}

function defineMembers(command: Command, cli: Cli): void {
  command
    .command('members')
    .summary('list the members of a garden')
    .description('List the members of a garden.')
    .argument('<garden>', GARDEN)
    .action(
      cli.action(async (session, [name]) => {
        const { out } = session;
        const client = await session.client();
        const members = await client.get<Member[]>(pathOf(name, 'members'));
        await out.answer({
          json: members,
          quiet: members.map(({ entity_uri }) => entity_uri),
          human: () => memberTable(out, members),
        });
      }),
    );
  const add = command.command('add');
  add
    .summary('add a member')
    .description('Add a member to a garden.')
    .argument('<garden>', GARDEN)
    .argument('<entity>', ENTITY)
    .addOption(add.createOption('--role <role>', 'what the member may do').choices(GARDEN_ROLES).default('reader'))
    .action(
      cli.action<{ role: string }>(async (session, [name, entity], { role }) => {
        const { out } = session;
        const client = await session.client();
        const member = await client.post<Member>(pathOf(name, 'members'), { entity_uri: entity, role });
        await out.answer(changed(out, member));
      }),
    );
  const role = command.command('role');
  role
    .summary("change a member's role")
    .description("Change a member's role. The last admin of a garden stays one.")
    .argument('<garden>', GARDEN)
    .argument('<entity>', ENTITY)
    .addArgument(role.createArgument('<role>', 'what the member may do').choices(GARDEN_ROLES))
    .action(
      cli.action(async (session, [name, entity, to]) => {
        const { out } = session;
        const client = await session.client();
        const member = await client.patch<Member>(memberPath(name, entity), { role: to });
        await out.answer(changed(out, member));
      }),
    );
  command
    .command('remove')
    .summary('remove a member')
    .description('Remove a member from a garden. The last admin of a garden stays.')
    .argument('<garden>', GARDEN)
    .argument('<entity>', ENTITY)
    .action(
      cli.action(async (session, [name, entity]) => {
        const { out } = session;
        const client = await session.client();
        await client.delete(memberPath(name, entity));
        await out.answer({ json: { removed: entity }, quiet: entity as string, human: () => [`${out.done} removed`] });
      }),
    );
}

function changed(out: Output, member: Member) {
  return {
    json: member,
    quiet: member.role,
    human: () => out.table([{ title: 'MEMBER' }, { title: 'ROLE' }], [[member.entity_uri, member.role]]),
  };
}

function memberTable(out: Output, members: readonly Member[]): string[] {
  return out.table(
    [{ title: 'MEMBER', min: 12 }, { title: 'ROLE' }, { title: 'ADDED', min: 10 }, { title: 'BY', min: 8 }],
    members.map((member) => [member.entity_uri, member.role, shortInstant(member.added_at), member.added_by]),
  );
}
