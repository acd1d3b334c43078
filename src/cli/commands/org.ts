import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { z } from 'zod';
import type { knownManifest, manifestList } from '../../api/schema/federation.ts';
import type { wellKnown } from '../../api/schema/records.ts';
import type { OrgManifest } from '../../identity/manifest.ts';
import { list } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { type Client, segment } from '../client.ts';
import { confirmOnce } from '../confirm.ts';
import { CliError, ProblemError } from '../errors.ts';
import { MAX_MANIFEST_FILE_BYTES } from '../limits.ts';
import { readSource, readText } from '../lines.ts';
import type { Output } from '../output.ts';
import { shortPeer, shownPeer } from '../peer-text.ts';
import type { Session } from '../session.ts';
import { counted, safeJson, shortInstant } from '../text.ts';

type Known = z.output<typeof knownManifest>;

interface YesOption {
  readonly yes?: boolean;
}

const YES = ['--yes', 'do not ask'] as const;

export function define(command: Command, cli: Cli): void {
  command.description(
    'Show and change who speaks for this organisation: its key, and the daemons whose keys it has signed. Without a ' +
      'command: show. What changes something takes the permission admin.',
  );
  defineShow(command.command('show', { isDefault: true }), command, cli);
  defineList(command.command('list'), cli);
  defineRotateKey(command.command('rotate-key'), cli);
  defineAddNode(command.command('add-node'), cli);
  defineRevokeNode(command.command('revoke-node'), cli);
  defineForgetNode(command.command('forget-node'), cli);
  defineExport(command.command('export'), cli);
  defineAdopt(command.command('adopt'), cli);
}

/** Of an organisation by name, or of this daemon's own. */
async function manifestOf(client: Client, authority: string | undefined): Promise<Known> {
  const name = authority ?? (await client.get<z.output<typeof wellKnown>>('/.well-known/stigmem')).org;
  return client.get<Known>(`/v1/federation/manifest/${segment(name)}`);
}

/** The daemon answers what it has verified. */
const contentOf = ({ manifest }: Known): OrgManifest => manifest as unknown as OrgManifest;

function manifestLines(out: Output, known: Known): string[] {
  const { nodes, rotations } = contentOf(known);
  const last = rotations.at(-1);
  return [
    ...out.record([
      ['org', known.authority],
      ['fingerprint', known.fingerprint],
      ['manifest', `version ${known.version}, ${known.standing}${known.expired ? ', EXPIRED' : ''}`],
      ['issued', shortInstant(known.issued_at)],
      ['expires', shortInstant(known.expires_at)],
      ['rotations', last === undefined ? 'none' : `${rotations.length}, the last ${shortInstant(last.at)}`],
    ]),
    '',
    ...out.table(
      [{ title: 'NODE' }, { title: 'MAY SPEAK FOR', min: 10 }, { title: 'STATE', min: 8 }],
      nodes.map((node) => [
        shownPeer(out, node.peer_id),
        node.namespaces.join(', '),
        node.revoked_at === undefined ? 'listed' : `revoked at ${node.revoked_at}`,
      ]),
    ),
  ];
}

function defineShow(command: Command, parent: Command, cli: Cli): void {
  command
    .summary('show key, nodes and rotations of an organisation')
    .description('Show the key of an organisation, the daemons that speak for it, and how often its key changed.')
    .argument('[org]', 'which (default: the organisation of this daemon)')
    .allowExcessArguments()
    .action(
      cli.action(async (session, [authority], _options, self) => {
        const [, stray] = self.args;
        const { out } = session;
        const client = await session.client();
        // `org show` that was typed as such takes a name; without it the word may have been meant as a command.
        const isImplied = parent.args[0] !== 'show';
        const known = stray === undefined ? await found(client, authority, isImplied) : undefined;
        if (known === undefined) {
          const { unknownCommand } = await import('../stray.ts');
          throw await unknownCommand(parent, stray ?? (authority as string));
        }
        await out.answer({ json: known, quiet: known.fingerprint, human: () => manifestLines(out, known) });
      }),
    );
}

/** Undefined: there is no such organisation, and the word may have been meant as a command, whose names have no dot. */
async function found(client: Client, authority: string | undefined, isImplied: boolean): Promise<Known | undefined> {
  try {
    return await manifestOf(client, authority);
  } catch (error) {
    const isUnknown = error instanceof ProblemError && error.code === 'manifest_not_found';
    if (isUnknown && isImplied && authority?.includes('.') === false) return undefined;
    throw error;
  }
}

function defineList(command: Command, cli: Cli): void {
  command
    .summary('list the organisations whose manifests are known')
    .description('List the organisations whose manifests are known here: ours, those paired with, those only seen.')
    .action(
      cli.action(async (session) => {
        const { out } = session;
        const client = await session.client();
        const answer = await client.get<z.output<typeof manifestList>>('/v1/federation/manifest');
        const { manifests } = answer;
        await out.answer({
          json: answer,
          quiet: manifests.map(({ authority }) => authority),
          human: () =>
            manifests.length === 0
              ? []
              : out.table(
                  [
                    { title: 'ORG', min: 8 },
                    { title: 'FINGERPRINT' },
                    { title: 'STANDING' },
                    { title: 'VERSION' },
                    { title: 'EXPIRES', min: 10 },
                  ],
                  manifests.map((each) => [
                    each.authority,
                    each.fingerprint,
                    each.standing,
                    String(each.version),
                    `${shortInstant(each.expires_at)}${each.expired ? ' EXPIRED' : ''}`,
                  ]),
                ),
        });
        if (manifests.length === 0 && !out.json && !out.quiet) out.note('no manifests: the mesh is off');
      }),
    );
}

/** The answer to every change: the manifest as it is now. */
async function showChange(session: Session, known: Known, done: string): Promise<void> {
  const { out } = session;
  await out.answer({
    json: known,
    quiet: known.fingerprint,
    human: () => [`${out.done} ${known.authority}  ${done}; manifest version ${known.version}`],
  });
}

function defineRotateKey(command: Command, cli: Cli): void {
  command
    .summary('give the organisation a new key')
    .description(
      'Give the organisation a new key, signed over by the old one: peers follow the signature. Other daemons of the ' +
        'organisation go on, and need the new key file only to sign manifests themselves.',
    )
    .option(...YES)
    .action(
      cli.action<YesOption>(async (session, _args, options) => {
        const client = await session.client();
        await confirmOnce(session, {
          yes: options.yes ?? false,
          what: 'the fingerprint of the organisation would change',
          question: 'The fingerprint that others know will change. Make a new key?',
        });
        const known = await client.post<Known>('/v1/federation/org/rotate-key', {}, { bulk: true });
        await showChange(session, known, `new key, fingerprint ${known.fingerprint}`);
      }),
    );
}

function defineAddNode(command: Command, cli: Cli): void {
  command
    .summary('let another daemon speak for the organisation')
    .description(
      'Let another daemon speak for the organisation. Then, on its machine: stigmesh org adopt, with what stigmesh org ' +
        'export prints here.',
    )
    .argument('<peer id>', 'of that daemon, as its stigmesh status shows it')
    .option('--names <list>', 'only these authorities below the organisation (default: all)', list)
    .action(
      cli.action<{ names?: string[] }>(async (session, [peerId], { names }) => {
        const client = await session.client();
        const known = await client.post<Known>('/v1/federation/org/nodes', { peer_id: peerId, namespaces: names });
        const count = contentOf(known).nodes.filter((node) => node.revoked_at === undefined).length;
        await showChange(session, known, `${counted(count, 'node')} may speak for it`);
      }),
    );
}

function defineRevokeNode(command: Command, cli: Cli): void {
  command
    .summary("revoke a daemon's key")
    .description(
      'Revoke the key of a daemon of the organisation, from now on and for good. What it signed before stays and is ' +
        'marked; what it signs later is refused everywhere.',
    );
  defineParting(command, cli, {
    what: 'the key could not be used again',
    question: (peer) => `Revoke the key of ${peer} for good?`,
    send: (client, path) => client.delete<Known>(path),
    done: 'revoked',
  });
}

function defineForgetNode(command: Command, cli: Cli): void {
  command
    .summary('take a revoked daemon off the manifest')
    .description(
      'Take a daemon that was revoked off the manifest, which lists at most 64, revoked ones included. Do it long ' +
        'after: who has not received what it signed rightfully by then will refuse it.',
    );
  defineParting(command, cli, {
    what: 'who lacks its statements would refuse them',
    question: (peer) => `Forget ${peer}, and that it ever spoke for the organisation?`,
    send: (client, path) => client.post<Known>(`${path}/forget`, {}),
    done: 'forgotten',
  });
}

interface Parting {
  /** What happens, for whoever cannot be asked. */
  readonly what: string;
  readonly question: (peer: string) => string;
  readonly send: (client: Client, path: string) => Promise<Known>;
  readonly done: string;
}

/** What is done to one daemon of the organisation, once it was asked whether it should be. */
function defineParting(command: Command, cli: Cli, { what, question, send, done }: Parting): void {
  command
    .argument('<peer id>', 'as org show lists it')
    .option(...YES)
    .action(
      cli.action<YesOption>(async (session, [argument], options) => {
        const peerId = argument as string;
        const client = await session.client();
        const peer = shortPeer(peerId);
        await confirmOnce(session, { yes: options.yes ?? false, what, question: question(peer) });
        await showChange(session, await send(client, `/v1/federation/org/nodes/${segment(peerId)}`), `${peer} ${done}`);
      }),
    );
}

function defineExport(command: Command, cli: Cli): void {
  command
    .summary('print the manifest of the organisation')
    .description(
      'Print the manifest of the organisation, for its other daemons and for safe keeping. It holds no secret.',
    )
    .argument('[file]', 'write it there instead; no file is replaced')
    .action(
      cli.action(async (session, [file]) => {
        const { out } = session;
        const known = await manifestOf(await session.client(), undefined);
        const text = `${JSON.stringify(known.manifest)}\n`;
        if (file === undefined) return void (await out.write(`${safeJson(known.manifest)}\n`));
        try {
          await writeFile(file, text, { flag: 'wx' });
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
          throw new CliError('file_exists', `${file} exists already`, 'choose another name, or move that file away');
        }
        await out.answer({
          json: { file, version: known.version },
          quiet: file,
          human: () => [`${out.done} manifest version ${known.version} of ${known.authority} written to ${file}`],
        });
      }),
    );
}

function defineAdopt(command: Command, cli: Cli): void {
  command
    .summary('take over the manifest of the organisation')
    .description(
      'Take over a manifest of this organisation that was signed on another machine: on a further daemon of the ' +
        'organisation, after stigmesh org add-node there.',
    )
    .argument('<file>', 'what org export wrote; - is stdin')
    .action(
      cli.action(async (session, [file]) => {
        const text = await readText(readSource(file as string, session.world.stdin), MAX_MANIFEST_FILE_BYTES);
        let manifest: unknown;
        try {
          manifest = JSON.parse(text);
        } catch {
          throw new CliError('file_unusable', 'this is not JSON', 'give what stigmesh org export printed');
        }
        const client = await session.client();
        const known = await client.put<Known>('/v1/federation/manifest', { manifest });
        await showChange(session, known, `fingerprint ${known.fingerprint}`);
      }),
    );
}
