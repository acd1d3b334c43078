/**
 * Writes what docs/metrics.md says of each metric and docs/limits.md of each limit, from the code. Run by
 * `npm run generate:operations`; a test compares the committed pages with it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import { createMetrics, observeApi } from '../src/api/metrics.ts';
import { resolveConfig } from '../src/config/index.ts';
import { observeNetwork } from '../src/mesh/libp2p/metrics.ts';
import { createMeshMetrics, observeMesh } from '../src/mesh/metrics.ts';
import { observeProcess } from '../src/metrics.ts';
import { createNodeMetrics, observeNode } from '../src/node/metrics.ts';
import { LIMIT_MODULES, LIMITS_SEEN, type LimitModule } from './limits-reference.ts';

const ROOT = new URL('../', import.meta.url);

/** Text between these lines of a page is generated. */
const BEGIN = '<!-- generated (npm run generate:operations) -->';
const END = '<!-- end generated -->';

export interface MetricRow {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

/** Every metric of our own, as a daemon registers them. Nothing is read from them. */
export function metricRows(): MetricRow[] {
  const registry = new Registry();
  const notRead = (): never => {
    throw new Error('a reference has no values');
  };
  observeProcess(registry, { version: '0', schema: 1, node: '0' }, resolveConfig({ env: {}, hostname: 'x' }).config);
  createNodeMetrics(registry);
  observeNode(registry, { figures: notRead, readiness: notRead, storeBytes: notRead });
  observeNetwork(registry, { figures: notRead });
  createMeshMetrics(registry);
  observeMesh(registry, { figures: notRead, activePeers: notRead, worstLag: notRead });
  createMetrics(registry);
  observeApi(registry, { connections: { open: 0, answering: 0 }, unread: 0 });
  return registry
    .getMetricsAsArray()
    .filter(({ name }) => name.startsWith('stigmesh_'))
    .map((metric) => {
      const { name, help, labelNames } = metric as typeof metric & { labelNames: readonly string[] };
      return { name, help, type: metric.constructor.name.toLowerCase(), labels: labelNames };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

export interface LimitRow {
  readonly name: string;
  readonly value: number;
  readonly why: string;
  readonly seen: string | undefined;
}

/** The limits of one module with the comments they stand under. */
export async function limitRows(module: LimitModule): Promise<LimitRow[]> {
  const values = (await import(new URL(module, ROOT).href)) as Record<string, number>;
  const text = readFileSync(new URL(module, ROOT), 'utf8');
  const rows: LimitRow[] = [];
  let why = '';
  for (const [, comment, name] of text.matchAll(/\/\*\*(.*?)\*\/|^export const ([A-Z_]+)/gms)) {
    // Constants that stand together share the comment above them.
    if (comment !== undefined)
      why = comment
        .replace(/\n\s*\*/g, ' ')
        .replace(/\s+/g, ' ')
        .trim();
    else if (name !== undefined) rows.push({ name, value: values[name]!, why, seen: LIMITS_SEEN[module][name] });
  }
  return rows;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');

function shownValue(name: string, value: number): string {
  const grouped = (n: number) => String(n).replace(/\B(?=(\d{3})+$)/g, ' ');
  if (name.endsWith('_MS') && value % 1000 === 0) return `${grouped(value / 1000)} s`;
  if (name.endsWith('_MS')) return `${value} ms`;
  if (name.endsWith('_BYTES') && value % (1024 * 1024) === 0) return `${value / 1024 / 1024} MiB`;
  if (name.endsWith('_BYTES') && value % 1024 === 0) return `${value / 1024} KiB`;
  if (name.endsWith('_BYTES')) return `${grouped(value)} B`;
  return Number.isInteger(value) ? grouped(value) : `1/${Math.round(1 / value)}`;
}

function metricsTable(): string {
  const rows = metricRows().map(
    ({ name, type, labels, help }) =>
      `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${cell(help)} |`,
  );
  return ['| Metric | Type | Labels | Meaning |', '|---|---|---|---|', ...rows].join('\n');
}

async function limitTables(): Promise<string> {
  const parts: string[] = [];
  for (const [module, title] of Object.entries(LIMIT_MODULES) as [LimitModule, string][]) {
    const rows = (await limitRows(module)).map(
      ({ name, value, why, seen = '' }) =>
        `| \`${name}\` | ${shownValue(name, value)} | ${cell(why)} | ${cell(seen)} |`,
    );
    parts.push(
      `## ${title}`,
      ['| Limit | Value | Why | When it is reached |', '|---|---|---|---|', ...rows].join('\n'),
    );
  }
  return parts.join('\n\n');
}

/** The pages this writes, each with the part that is generated. */
export const PAGES: { readonly [page: string]: () => string | Promise<string> } = {
  'docs/metrics.md': metricsTable,
  'docs/limits.md': limitTables,
};

/** A page with its generated part replaced. */
export async function operationsPage(page: string, current: string): Promise<string> {
  const start = current.indexOf(BEGIN);
  const end = current.indexOf(END, start);
  const content = PAGES[page];
  if (content === undefined || start === -1 || end === -1) throw new Error(`${page} has no generated part`);
  return `${current.slice(0, start)}${BEGIN}\n\n${await content()}\n\n${current.slice(end)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const page of Object.keys(PAGES)) {
    const file = new URL(page, ROOT);
    writeFileSync(file, await operationsPage(page, readFileSync(file, 'utf8')));
  }
}
