import type { Command } from 'commander';
import type { z } from 'zod';
import type { assertedFact } from '../../api/schema/facts.ts';
import type { FactValue } from '../../facts/index.ts';
import { BASES } from '../../facts/scope.ts';
import { confidence, list, scopeOption } from '../arguments.ts';
import { type AssertOptions, terms } from '../assert-terms.ts';
import type { Cli } from '../cli.ts';
import { usage } from '../errors.ts';
import { MAX_VALUE_BYTES } from '../limits.ts';
import { readSource, readText } from '../lines.ts';
import type { Session } from '../session.ts';
import { counted, shortId } from '../text.ts';
import { readValue, VALUE_TYPES } from '../values.ts';

type AssertedFact = z.output<typeof assertedFact>;

const HELP = `
The type of the value is inferred: true and false are booleans, null is null, JSON numbers are numbers (unless they
have more digits than a double holds), RFC 3339 times in UTC are datetimes, scheme://… and urn:… are refs, longer than
1 KiB or with a line break is a text, and everything else a string. --type overrides it.

With --file or --stdin and no entity, each line is one fact as JSON, as the API takes it; value may be plain JSON, and
scope, source and the other options fill in what a line leaves out.

Examples:
  $ stigmesh assert user:alice memory:role CEO --scope company
  $ stigmesh assert user:alice memory:note --file note.txt
  $ stigmesh assert build:42 ci:status passed --ttl 2h --source agent:ci --basis observed
  $ stigmesh assert --file facts.jsonl --atomic`;

export function define(command: Command, cli: Cli): void {
  command
    .description('State a fact. Answers when it is signed and on disk; the same claim again changes nothing.')
    .argument('[entity]', 'what the fact is about: stigmem://acme.example/user/alice, or short: user:alice')
    .argument('[relation]', 'prefix:name')
    .argument('[value]', 'its type is inferred, see below')
    .addOption(scopeOption('who it is for', 'local'))
    .addOption(command.createOption('--type <type>', 'type of the value').choices(VALUE_TYPES))
    .option('--confidence <number>', 'how sure, from 0 to 1; 0 retracts (default: 1)', confidence)
    .option('--source <uri>', 'who claims it (default: user:<you>)')
    .option('--valid-until <instant>', 'RFC 3339; not current from then on')
    .addOption(command.createOption('--ttl <span>', 'the same as a span: 90s, 15m, 2h, 7d, 4w').conflicts('validUntil'))
    .option('--garden <garden>', 'garden of the same scope (slug, id or URI)')
    .option('--supersedes <ids>', 'statements of your organisation that this one retires', list)
    .addOption(command.createOption('--basis <basis>', 'how the source knows').choices(BASES))
    .option('--instruction', 'the value is an instruction; takes the permission instruction:write')
    .option('--idempotency-key <key>', 'a repeat with the same key answers the first result')
    .option('-f, --file <file>', 'read the value, or many facts, from a file (- is stdin)')
    .addOption(command.createOption('--stdin', 'the same as --file -').conflicts('file'))
    .option('--atomic', 'with many facts: all or nothing')
    .addHelpText('after', HELP)
    .action(
      cli.action<AssertOptions>(async (session, [entity, relation, value], options) => {
        const file = options.stdin ? '-' : options.file;
        if (entity === undefined) {
          if (file === undefined)
            throw usage('what to assert is missing', 'give entity, relation and value, or --file');
          const { assertMany } = await import('../assert-many.ts');
          return assertMany(session, file, options);
        }
        return assertOne(session, { entity, relation, value }, file, options);
      }),
    );
}

async function assertOne(
  session: Session,
  given: { entity: string; relation: string | undefined; value: string | undefined },
  file: string | undefined,
  options: AssertOptions,
): Promise<undefined> {
  const { entity, relation } = given;
  if (relation === undefined)
    throw usage('the relation is missing', 'give it after the entity, for example memory:role');
  if (options.atomic) throw usage('--atomic is for many facts', 'leave it out: one fact is stored whole or not at all');
  const value = await givenValue(session, given.value, file, options.type);
  const client = await session.client();
  const fact = await client.post<AssertedFact>(
    '/v1/facts',
    {
      entity,
      relation,
      value: options.instruction ? { ...value, interpret_as: 'instruction' } : value,
      ...terms(session, options),
    },
    { headers: { 'idempotency-key': options.idempotencyKey } },
  );
  const { out } = session;
  out.factWarnings(fact.warnings, options.source === undefined ? session.defaultSource : undefined);
  if (fact.valid_until !== null && Date.parse(fact.valid_until) <= session.world.now() && !out.json) {
    out.warn(`it was valid until ${fact.valid_until}, which is past: queries show it with --include expired`);
  }
  await out.answer({
    json: fact,
    quiet: fact.id,
    human: () => [
      `${out.done} ${shortId(fact.id)}  ${fact.created ? `stored, indexed, announced to ${counted(fact.announced_to, 'peer')}` : 'known already, nothing written'}`,
      ...(fact.contradicted ? [`  contradicts another value: stigmesh conflicts`] : []),
    ],
  });
}

async function givenValue(
  session: Session,
  text: string | undefined,
  file: string | undefined,
  type: AssertOptions['type'],
): Promise<FactValue> {
  if (file === undefined) return readValue(text, type);
  if (text !== undefined) throw usage('the value is given twice', 'give it on the command line or in a file, not both');
  const content = await readText(readSource(file, session.world.stdin), MAX_VALUE_BYTES);
  // Every editor ends a file with a line break that nobody means.
  return readValue(content.replace(/\r?\n$/, ''), type);
}
