/**
 * Writes what docs/cli.md says of each command, from the command tree itself. Run by `npm run generate:cli`; a test
 * compares the committed page with it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Argument, Option } from 'commander';
import { EXIT_MEANINGS } from '../src/cli/exit-codes.ts';
import { fullProgram } from '../src/cli/program.ts';
import { type CommandNode, commandTree, walk } from '../src/cli/tree.ts';
import { systemWorld } from '../src/cli/world.ts';

const PAGE = 'docs/cli.md';

/** Text between these lines of the page is generated. */
const BEGIN = (name: string) => `<!-- generated: ${name} (npm run generate:cli) -->`;
const END = '<!-- end generated -->';

/** Pipes would end a cell. */
const cell = (text: string): string => text.replaceAll('|', '\\|');

function optionRow(option: Option): string {
  const { argChoices, defaultValue, defaultValueDescription, description, flags } = option;
  const words = argChoices === undefined ? '' : ` One of ${argChoices.map((word) => `\`${word}\``).join(', ')}.`;
  const shown =
    defaultValueDescription ?? (typeof defaultValue === 'string' && defaultValue !== '' ? defaultValue : '');
  const fallback = shown === '' ? '' : ` Default: \`${shown}\`.`;
  return `| \`${cell(flags)}\` | ${cell(sentence(description))}${words}${fallback} |`;
}

function argumentRow(argument: Argument): string {
  const words = argument.argChoices?.map((word) => `\`${word}\``).join(', ');
  const name = argument.required ? `<${argument.name()}>` : `[${argument.name()}]`;
  return `| \`${cell(name)}\` | ${cell(sentence(argument.description))}${words === undefined ? '' : ` One of ${words}.`} |`;
}

function sentence(text: string): string {
  return text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.…]$/.test(text) ? '' : '.'}`;
}

/** One command: what it does, how it is written, what it takes. Groups are described by their commands. */
function commandSection(node: CommandNode): string {
  const name = ['stigmesh', ...node.path].join(' ');
  const heading = node.path.length === 1 ? '###' : '####';
  const rows = [
    ...node.arguments.map(argumentRow),
    ...node.options.filter(({ long }) => long !== '--help').map(optionRow),
  ];
  const table = rows.length === 0 ? [] : ['', '| Argument or option | Meaning |', '|---|---|', ...rows];
  const usage = node.commands.length > 0 ? [] : ['', '```text', `${name} ${node.usage}`.trim(), '```'];
  return [`${heading} \`${name}\``, '', cell(node.description), ...usage, ...table].join('\n');
}

function generatedParts(root: CommandNode): { readonly [name: string]: string } {
  const groups = new Map<string, CommandNode[]>();
  for (const node of root.commands) groups.set(node.group, [...(groups.get(node.group) ?? []), node]);
  const sections = [...groups].map(([group, nodes]) =>
    [`## ${group.replace(/:$/, '')}`, ...nodes.flatMap((node) => [...walk(node)].map(commandSection))].join('\n\n'),
  );
  const codes = Object.entries(EXIT_MEANINGS).map(([code, meaning]) => `| ${code} | ${sentence(meaning)} |`);
  return {
    'exit codes': ['| Code | Meaning |', '|---|---|', ...codes].join('\n'),
    'global options': ['| Option | Meaning |', '|---|---|', ...root.options.map(optionRow)].join('\n'),
    commands: sections.join('\n\n'),
  };
}

/** The page with its generated parts replaced. */
export async function cliPage(current: string): Promise<string> {
  let page = current;
  for (const [name, content] of Object.entries(generatedParts(commandTree(await fullProgram(systemWorld()))))) {
    const start = page.indexOf(BEGIN(name));
    const end = page.indexOf(END, start);
    if (start === -1 || end === -1) throw new Error(`${PAGE} has no generated part named ${name}`);
    page = `${page.slice(0, start)}${BEGIN(name)}\n\n${content}\n\n${page.slice(end)}`;
  }
  return page;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = new URL(`../${PAGE}`, import.meta.url);
  writeFileSync(file, await cliPage(readFileSync(file, 'utf8')));
}
