import { z } from 'zod';
import type { AuditEntry, AuditQuery } from '../../node/services.ts';
import { MAX_AUDIT_EXPORT } from '../limits.ts';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/records.ts';
import * as wire from '../wire.ts';
import { type Call, factName, type Operation, operation, type StreamEndpoint, streamEndpoint } from './operation.ts';

const AUDITORS = ['admin', 'audit.read'] as const;

/** Entries read from the log at a time. */
const EXPORT_PAGE = 500;

type Filter = z.output<z.ZodObject<typeof schema.auditFilter>>;

/** Null: a filter that no entry can match, because what it asks for does not exist here. */
function auditQuery(filter: Filter): Omit<AuditQuery, 'limit' | 'cursor'> | null {
  if (filter.oidc_sub !== undefined || filter.attested === true) return null;
  return {
    type: filter.event_type,
    principal: filter.entity_uri,
    source: filter.source,
    factId: filter.fact_id,
  };
}

const listAudit = operation({
  name: 'audit.list',
  rpc: false,
  method: 'GET',
  path: '/v1/audit',
  status: 200,
  tag: 'audit',
  summary: 'Read the audit log, newest first',
  description: 'What was done, by whom. Values of facts are not in it.',
  access: AUDITORS,
  rate: 'read',
  input: {
    query: z.object({
      ...schema.auditFilter,
      cursor: text.optional(),
      limit: z.int().min(1).max(500).default(50),
    }),
  },
  output: schema.auditPage,
  errors: ['invalid_cursor', 'invalid_query', 'invalid_cid'],
  async handler(call, { query }) {
    const filter = auditQuery(query);
    const page =
      filter === null
        ? { entries: [], cursor: null }
        : await call.components.audit.list(call.who, { ...filter, cursor: query.cursor, limit: query.limit });
    return {
      body: { entries: page.entries.map(wire.auditEntry), total: page.entries.length, cursor: page.cursor },
    };
  },
});

const factAudit = operation({
  name: 'audit.ofFact',
  rpc: false,
  method: 'GET',
  path: '/v1/audit/facts/{fact_id}',
  status: 200,
  tag: 'audit',
  summary: 'Everything recorded about one statement, oldest first',
  access: AUDITORS,
  rate: 'read',
  input: { params: z.object({ fact_id: text }) },
  output: z.array(schema.auditEntry),
  errors: ['fact_not_found', 'cid_malformed', 'invalid_query', 'invalid_cid'],
  async handler(call, { params }) {
    const entries = await call.components.audit.ofFact(call.who, factName(params.fact_id));
    return { body: entries.map(wire.auditEntry) };
  },
});

const COLUMNS = [
  'id',
  'fact_id',
  'event_type',
  'principal_entity_uri',
  'principal_oidc_sub',
  'source',
  'attested_key_id',
  'attested_key_entity_uri',
  'attested_key_description',
  'fact_entity',
  'fact_relation',
  'fact_value_type',
  'fact_value_v',
  'fact_scope',
  'ts',
] as const;

function row(entry: AuditEntry): string {
  const cells: Partial<Record<(typeof COLUMNS)[number], string>> = {
    id: String(entry.seq),
    fact_id: entry.factId ?? '',
    event_type: entry.type,
    principal_entity_uri: entry.principal,
    source: entry.source,
    ts: entry.ts,
  };
  return `${COLUMNS.map((column) => csvCell(cells[column] ?? '')).join(',')}\r\n`;
}

/** RFC 4180. A leading = + - @ tab or CR would make a spreadsheet compute the cell, so a quote is put before it. */
export function csvCell(value: string): string {
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

async function* auditRows(call: Call, filter: ReturnType<typeof auditQuery>, first: AuditPage | null, limit: number) {
  yield `${COLUMNS.join(',')}\r\n`;
  let left = limit;
  for (let page = first; page !== null && filter !== null; ) {
    for (const entry of page.entries.slice(0, left)) yield row(entry);
    left -= page.entries.length;
    page =
      page.cursor === null || left <= 0
        ? null
        : await call.components.audit.list(call.who, {
            ...filter,
            cursor: page.cursor,
            limit: Math.min(EXPORT_PAGE, left),
          });
  }
}

type AuditPage = { readonly entries: readonly AuditEntry[]; readonly cursor: string | null };

const exportAudit = streamEndpoint({
  name: 'audit.export',
  method: 'GET',
  path: '/v1/audit/export',
  status: 200,
  tag: 'audit',
  summary: 'The audit log as CSV, newest first',
  access: AUDITORS,
  rate: 'read',
  produces: 'text/csv',
  input: {
    query: z.object({
      ...schema.auditFilter,
      limit: z.int().min(1).max(MAX_AUDIT_EXPORT).default(5000),
    }),
  },
  errors: ['invalid_query', 'invalid_cid'],
  async stream(call, { query }) {
    const filter = auditQuery(query);
    // The first page is read before the answer begins, so that a refusal can still be one.
    const first =
      filter === null
        ? null
        : await call.components.audit.list(call.who, { ...filter, limit: Math.min(EXPORT_PAGE, query.limit) });
    return {
      contentType: 'text/csv; charset=utf-8',
      headers: { 'content-disposition': 'attachment; filename=stigmem-audit.csv' },
      chunks: auditRows(call, filter, first, query.limit),
    };
  },
});

export const auditOperations: readonly Operation[] = [listAudit, factAudit];
export const auditStreams: readonly StreamEndpoint[] = [exportAudit];
