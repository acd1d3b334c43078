import type { z } from 'zod';
import { errorsOf, headerName } from '../documents.ts';
import { ERRORS } from '../errors.ts';
import type { Access, Endpoint } from '../operations/operation.ts';
import { mergedParams } from '../rpc/rpc.ts';
import { unwrap } from '../schema/input.ts';
import { escapeHtml, inline, table } from './html.ts';

/** The reference pages, made from the same list as the routes. */

export function httpReference(endpoints: readonly Endpoint[]): string {
  const byTag = Map.groupBy(endpoints, ({ tag }) => tag);
  const parts = [
    '<h1>HTTP reference</h1>',
    '<p>The same as <a href="/openapi.json">openapi.json</a>, for reading.</p>',
  ];
  for (const [tag, members] of byTag) {
    parts.push(`<h2 id="tag-${escapeHtml(tag)}">${escapeHtml(tag)}</h2>`);
    for (const endpoint of members) parts.push(httpEntry(endpoint));
  }
  return parts.join('\n');
}

function httpEntry(endpoint: Endpoint): string {
  const { input } = endpoint;
  const rows = [
    ...members(input.params, 'path'),
    ...members(input.query, 'query'),
    ...members(input.headers, 'header'),
    ...members(input.body, 'body'),
  ];
  const codes = errorsOf(endpoint)
    .map((code) => `<a href="/docs/errors#${code}"><code>${code}</code></a>`)
    .join(' ');
  return [
    `<h3 id="${escapeHtml(endpoint.name)}"><span class="method">${endpoint.method}</span> `,
    `<code>${escapeHtml(endpoint.path.replace('*}', '}'))}</code></h3>`,
    `<p>${inline(endpoint.summary)}. <span class="soft">${accessText(endpoint.access)}; answers ${endpoint.status}.</span></p>`,
    endpoint.description === undefined ? '' : `<p>${inline(endpoint.description)}</p>`,
    rows.length === 0 ? '' : table(['Name', 'In', 'Type', 'Meaning'], rows),
    `<details><summary>Errors</summary><p>${codes}</p></details>`,
  ].join('');
}

function members(schema: z.ZodObject | undefined, place: string): string[][] {
  return Object.entries(schema?.shape ?? {}).map(([name, member]) => {
    const type = member as z.ZodType;
    const required = place === 'path' || !type.safeParse(undefined).success;
    return [
      `<code>${escapeHtml(place === 'header' ? headerName(name) : name)}</code>${required ? '' : ' <span class="soft">optional</span>'}`,
      place,
      `<code>${escapeHtml(typeName(type))}</code>`,
      inline(type.description ?? ''),
    ];
  });
}

/** A word for a type; the exact schema is in the documents. */
function typeName(schema: z.ZodType): string {
  const inner = unwrap(schema);
  const { def } = inner as unknown as { def: { type: string; entries?: Record<string, string>; element?: z.ZodType } };
  if (def.entries !== undefined) return Object.values(def.entries).join(' | ');
  if (def.element !== undefined) return `${typeName(def.element)}[]`;
  return def.type === 'unknown' ? 'any' : def.type;
}

function accessText(access: Access): string {
  if (access === 'open') return 'Open to anyone';
  if (access === 'authenticated') return 'Any valid key';
  if (access === 'metrics') return 'Permission read, or loopback with <code>api.metrics_loopback</code>';
  return `Permission ${access.map((word) => `<code>${word}</code>`).join(' or ')}`;
}

export function rpcReference(endpoints: readonly Endpoint[]): string {
  const parts = [
    '<h1>JSON-RPC reference</h1>',
    '<p>JSON-RPC 2.0 at <code>POST /rpc</code>; parameters go by name; results are the bodies of the HTTP routes. ',
    'The method <code>rpc.discover</code> answers all of this as an OpenRPC document.</p>',
  ];
  for (const endpoint of endpoints) {
    if (endpoint.kind !== 'json' || !endpoint.rpc) continue;
    const rows = members(mergedParams(endpoint), 'params').map(([name, , type, meaning]) => [name!, type!, meaning!]);
    parts.push(
      `<h3 id="${escapeHtml(endpoint.name)}"><code>${escapeHtml(endpoint.name)}</code></h3>`,
      `<p>${inline(endpoint.summary)}. <span class="soft">${accessText(endpoint.access)}; as `,
      `<a href="/docs/reference/http#${escapeHtml(endpoint.name)}">${endpoint.method} ${escapeHtml(endpoint.path.replace('*}', '}'))}</a>.</span></p>`,
      rows.length === 0 ? '' : table(['Parameter', 'Type', 'Meaning'], rows),
    );
  }
  return parts.join('\n');
}

export function errorReference(): string {
  const rows = Object.entries(ERRORS).map(([code, { status, rpc, title }]) => [
    `<code id="${code}">${code}</code>`,
    String(status),
    String(rpc),
    escapeHtml(title),
  ]);
  return [
    '<h1>Error codes</h1>',
    '<p>Every refusal has one code. Over HTTP it is the member <code>code</code> of a problem (RFC 9457) with a ',
    '<code>hint</code>; over JSON-RPC the same problem is the <code>data</code> of the error.</p>',
    table(['Code', 'HTTP', 'JSON-RPC', 'Meaning'], rows),
  ].join('');
}
