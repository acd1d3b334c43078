/**
 * Writes what is derived from the configuration schema: the example file, the JSON Schema for editors, and the tables
 * in docs/configuration.md. Run by `npm run generate:config`; a test compares the committed files with it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CONFIG_VERSION, configSchema, sectionTitles } from '../src/config/schema.ts';
import { OTHER_VARIABLES, type Setting, settings } from '../src/config/settings.ts';

const DOCS = 'docs/configuration.md';

/** Text between these lines of the page is generated. */
const BEGIN = (name: string) => `<!-- generated: ${name} (npm run generate:config) -->`;
const END = '<!-- end generated -->';

const toml = (value: unknown): string =>
  Array.isArray(value) ? `[${value.map(toml).join(', ')}]` : JSON.stringify(value);

const inSection = (section: string): Setting[] => settings.filter((setting) => setting.section === section);

/** Every key at its default, as comments: uncommenting a line changes nothing until its value is changed. */
export function exampleToml(): string {
  const lines = [
    '#:schema ./stigmesh.schema.json',
    '# All keys of the configuration of Stigmesh with their defaults. `stigmesh init` writes a much shorter file.',
    '# Precedence: command line > environment (STIGMESH_<SECTION>_<KEY>) > this file > default.',
    `version = ${CONFIG_VERSION}`,
  ];
  for (const [section, title] of Object.entries(sectionTitles)) {
    lines.push('', `# ${title}`, `[${section}]`);
    for (const setting of inSection(section)) {
      lines.push(`# ${setting.description}`);
      if (setting.defaultValue === undefined) lines.push('# No default; for example:');
      lines.push(`# ${setting.name} = ${toml(setting.example)}`);
    }
  }
  lines.push(
    '',
    '# A relation that may hold several values at a time; one table a relation.',
    '# [relations."memory:likes"]',
    '# cardinality = "many"',
  );
  return `${lines.join('\n')}\n`;
}

/** For editors: of what a file may contain, before defaults are filled in. */
export function jsonSchema(): string {
  return `${JSON.stringify(z.toJSONSchema(configSchema, { io: 'input' }), null, 2)}\n`;
}

/** The table of one section in Markdown. */
function sectionTable(section: string, title: string): string {
  const rows = inSection(section).map((setting) => {
    const fallback = setting.defaultValue === undefined ? '' : `\`${toml(setting.defaultValue)}\``;
    const options =
      setting.options === undefined ? '' : ` One of ${setting.options.map((o) => `\`${o}\``).join(', ')}.`;
    return `| \`${setting.name}\` | ${fallback} | \`${setting.env}\` | ${setting.description}${options} |`;
  });
  return [
    `### \`[${section}]\``,
    '',
    title,
    '',
    '| Key | Default | Variable | Meaning |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}

function generatedParts(): { [name: string]: string } {
  const variables = Object.entries(OTHER_VARIABLES).map(([name, meaning]) => `| \`${name}\` | ${meaning} |`);
  return {
    keys: Object.entries(sectionTitles)
      .map(([section, title]) => sectionTable(section, title))
      .join('\n\n'),
    variables: ['| Variable | Meaning |', '|---|---|', ...variables].join('\n'),
  };
}

/** The page with its generated parts replaced. */
export function documentation(current: string): string {
  let page = current;
  for (const [name, content] of Object.entries(generatedParts())) {
    const start = page.indexOf(BEGIN(name));
    const end = page.indexOf(END, start);
    if (start === -1 || end === -1) throw new Error(`${DOCS} has no generated part named ${name}`);
    page = `${page.slice(0, start)}${BEGIN(name)}\n\n${content}\n\n${page.slice(end)}`;
  }
  return page;
}

/** Path from the project root, and content, of every generated file. */
export function generatedFiles(root: URL): Map<string, string> {
  return new Map([
    ['config/stigmesh.example.toml', exampleToml()],
    ['config/stigmesh.schema.json', jsonSchema()],
    [DOCS, documentation(readFileSync(new URL(DOCS, root), 'utf8'))],
  ]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = new URL('../', import.meta.url);
  for (const [path, content] of generatedFiles(root)) writeFileSync(new URL(path, root), content);
}
