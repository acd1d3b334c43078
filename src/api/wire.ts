import type { z } from 'zod';
import { formatInstant } from '../facts/index.ts';
import type { ApiKeyInfo, AuditEntry, Garden, LintJob, LintResult } from '../node/services.ts';
import type { CidCheck, ConflictRecord, FactPage, FactView, Provenance } from '../node/types.ts';
import type { Principal } from '../policy/principal.ts';
import type { ApiInit } from './components.ts';
import type * as facts from './schema/facts.ts';
import type * as records from './schema/records.ts';

/** From the node's own types to the wire. Member order follows Stigmem's records; ours come after. */

type CompatCid = ApiInit['compatCid'];

export function factRecord(view: FactView, compatCid: CompatCid, warnings: readonly string[] = []): facts.FactRecord {
  const { body, ext, origin, org, hlc, timestamp } = view.statement;
  const [cid, alias] = compatCid === 'rfc8785' ? [view.cid, view.stigmemCid] : [view.stigmemCid, view.cid];
  // Spelled when asked for, and asked for twice.
  const { id } = view;
  return {
    id,
    entity: body.entity,
    relation: body.relation,
    value: { type: body.value.type, v: body.value.v, interpret_as: ext.interpret_as ?? 'content' },
    source: body.source,
    timestamp,
    hlc,
    received_from: view.receivedFrom,
    valid_until: view.validUntil,
    confidence: body.confidence,
    scope: body.scope,
    attested_key_id: null,
    origin_node_id: view.receivedFrom === null ? null : origin,
    origin_allowed_scopes: null,
    garden_id: ext.garden_id ?? null,
    attested: null,
    contradicted: view.contradicted,
    warnings: [...warnings],
    source_trust: null,
    quarantine_status: view.state === 'quarantined' ? 'pending' : null,
    quarantine_garden_id: null,
    effective_confidence: null,
    sanitizer_warnings: [],
    sanitizer_redacted: false,
    cid,
    derived_from: [...(ext.derived_from ?? [])],
    cid_aliases: [view.cidV1, alias],
    statement_cid: id,
    state: view.state,
    overruled: view.overruled,
    origin,
    org,
    source_revoked: view.sourceRevoked,
    signature: base64url(view.signature),
    basis: ext.basis ?? null,
    supersedes: [...(ext.supersedes ?? [])],
    received_at: formatInstant(view.receivedAt),
    seq: view.seq,
  };
}

export function factPage(page: FactPage, compatCid: CompatCid): z.output<typeof facts.factPage> {
  return {
    facts: page.facts.map((fact) => factRecord(fact, compatCid)),
    total: page.facts.length,
    cursor: page.cursor,
    tombstone_notices: [],
    head: page.head,
  };
}

export function provenance(of: Provenance, compatCid: CompatCid): z.output<typeof facts.provenance> {
  const { fact, derivedFrom } = of;
  return {
    fact_id: fact.id,
    cid: compatCid === 'rfc8785' ? fact.cid : fact.stigmemCid,
    derived_from: derivedFrom.map(({ hash, factId, entity, exists }) => ({ hash, fact_id: factId, entity, exists })),
    statement_cid: fact.id,
    origin: fact.statement.origin,
    org: fact.statement.org,
    hlc: fact.statement.hlc,
    signature: base64url(fact.signature),
    received_from: fact.receivedFrom,
    received_at: formatInstant(fact.receivedAt),
  };
}

export function cidCheck(check: CidCheck): z.output<typeof facts.cidCheck> {
  return {
    cid_valid: check.cidValid,
    computed_cid: check.computedCid,
    stored_cid: check.storedCid,
    mismatch_reason: check.mismatchReason,
    signature_valid: check.signatureValid,
    statement_cid: check.statementCid,
  };
}

export function conflictRecord(conflict: ConflictRecord, compatCid: CompatCid): z.output<typeof facts.conflictRecord> {
  return {
    conflict_id: conflict.id,
    fact_a: factRecord(conflict.factA, compatCid),
    fact_b: factRecord(conflict.factB, compatCid),
    status: conflict.status,
    resolved_by: conflict.resolvedBy,
    resolutions: [...conflict.resolutions],
    detected_at: formatInstant(conflict.detectedAt),
  };
}

export function garden(of: Garden): z.output<typeof records.garden> {
  return { ...of, members: of.members.map((member) => ({ ...member })) };
}

function keyMembers(key: ApiKeyInfo) {
  return {
    id: key.id,
    entity_uri: key.entity_uri,
    permissions: [...key.permissions].sort(),
    description: key.description,
    created_at: key.created_at,
    expires_at: key.expires_at,
    scopes: [...key.scopes],
    revoked_at: key.revoked_at,
  };
}

export function keyInfo(key: ApiKeyInfo): z.output<typeof records.keyInfo> {
  return { ...keyMembers(key), oidc_sub: null };
}

export function expiringKey(
  key: ApiKeyInfo & { readonly days_remaining: number },
): z.output<typeof records.expiringKey> {
  return { ...keyInfo(key), tenant_id: 'default', days_remaining: key.days_remaining };
}

export function keyCreated(key: ApiKeyInfo, secret: string | null): z.output<typeof records.keyCreated> {
  return { ...keyMembers(key), tenant_id: 'default', api_key: secret };
}

export function whoami(who: Principal): z.output<typeof records.whoami> {
  return {
    entity_uri: who.entity,
    permissions: [...who.permissions].sort(),
    oidc_sub: null,
    tenant_id: 'default',
    scopes: [...who.scopes],
    key_id: who.keyId,
  };
}

export function auditEntry(entry: AuditEntry): z.output<typeof records.auditEntry> {
  return {
    id: String(entry.seq),
    fact_id: entry.factId ?? '',
    event_type: entry.type,
    entity_uri: entry.principal,
    oidc_sub: null,
    source: entry.source,
    attested_key_id: null,
    ts: entry.ts,
    attested_key_entity_uri: null,
    attested_key_description: null,
    fact_entity: null,
    fact_relation: null,
    fact_value_type: null,
    fact_value_v: null,
    fact_scope: null,
    seq: entry.seq,
    key_id: entry.keyId,
    detail: entry.detail,
  };
}

export function lintResult(result: LintResult): z.output<typeof records.lintResult> {
  return {
    findings: result.findings.map((finding) => ({ ...finding, fact_ids: [...finding.fact_ids] })),
    checked_at: result.checked_at,
    scope: result.scope,
    checks_run: [...result.checks_run],
    fact_count: result.fact_count,
    truncated: result.truncated,
  };
}

/** Stigmem merges the members of the result into the job. */
export function lintJob(job: LintJob): z.output<typeof records.lintJob> {
  const { result, ...members } = job;
  return { ...(result === null ? {} : lintResult(result)), ...members };
}

export function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}
