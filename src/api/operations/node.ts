import { formatInstant } from '../../facts/index.ts';
import { publicKeyFromPeerId } from '../../identity/node-key.ts';
import type { FederationService } from '../../node/federation.ts';
import type { ApiComponents, ApiInit } from '../components.ts';
import * as schema from '../schema/records.ts';
import { meshStatusOf } from '../wire-federation.ts';
import { type Operation, operation } from './operation.ts';

/** Prefixes with a meaning of their own; `garden:` announces memory gardens. */
const NAMESPACES = ['stigmem:', 'rel:', 'memory:', 'intent:', 'roadmap:', 'preference:', 'garden:'];

const authMode = (init: ApiInit) => (init.authRequired ? ('required' as const) : ('none' as const));

/** The manifest goes before the key file: keys are rotated, and further daemons of an organisation have another file. */
async function orgFingerprint({ federation, identity }: ApiComponents): Promise<string> {
  try {
    return (await federation?.manifest(identity.org))?.fingerprint ?? identity.fingerprint;
  } catch {
    // None was published yet.
    return identity.fingerprint;
  }
}

/**
 * What Stigmem's nodes say of themselves when they federate. The version is ours: theirs stands for facts over HTTP. So do
 * their `federation_endpoints`, whose members its clients insist on where there are any: facts travel over libp2p here, and
 * nothing is answered.
 */
function meshMembers(peerId: string, federation: FederationService) {
  return {
    addrs: [...federation.status().addrs],
    federation_pubkey: Buffer.from(publicKeyFromPeerId(peerId)).toString('base64url'),
    federation_version: 'stigmesh/1',
  };
}

const nodeStatus = operation({
  name: 'node.status',
  method: 'GET',
  path: '/v1/status',
  status: 200,
  tag: 'node',
  summary: 'State of this node',
  access: ['read'],
  rate: 'read',
  input: {},
  output: schema.nodeStatus,
  errors: [],
  async handler({ components, init, runtime }) {
    const status = await components.status();
    const { ready, code, reason } = status.readiness;
    const mesh = meshStatusOf(components);
    return {
      body: {
        status: ready ? ('ok' as const) : ('unavailable' as const),
        reason: code === null ? null : { code, message: reason ?? '' },
        version: init.version,
        node_version: init.nodeVersion,
        uptime_s: Math.floor(runtime.uptimeMs() / 1000),
        peer_id: status.peerId,
        org: status.org,
        fingerprint: await orgFingerprint(components),
        statements: status.statements,
        facts: status.facts,
        current_facts: status.currentFacts,
        open_conflicts: status.openConflicts,
        quarantined: status.quarantined,
        untrusted: status.untrusted,
        equivocations: status.equivocations,
        seq: status.seq,
        hlc: status.hlc,
        hlc_ahead_ms: status.hlcAheadMs,
        last_commit_at: status.lastCommitAt === null ? null : formatInstant(status.lastCommitAt),
        store_bytes: status.storeBytes,
        schema: status.schema,
        write_queue: status.writeQueue,
        recomputations: status.recomputations,
        expiry_overdue_s: Math.floor(status.expiryOverdueMs / 1000),
        lint_jobs: status.lintJobs,
        feed_followers: status.feedFollowers,
        sse_clients: runtime.sseClients(),
        connections: runtime.connections().open,
        requests: runtime.connections().answering,
        gardens: status.gardens,
        manifests: status.manifests,
        api_keys: status.apiKeys,
        auth: authMode(init),
        mesh,
        warnings: [...new Set([...status.warnings, ...mesh.warnings])],
      },
    };
  },
});

const wellKnown = operation({
  name: 'node.wellKnown',
  rpc: false,
  method: 'GET',
  path: '/.well-known/stigmem',
  status: 200,
  tag: 'node',
  summary: 'Who this node is and what it speaks',
  access: 'open',
  rate: null,
  input: {},
  output: schema.wellKnown,
  errors: [],
  async handler({ components, init, runtime }) {
    const { peerId, org } = components.identity;
    return {
      body: {
        version: '1.0',
        node_id: peerId,
        node_url: runtime.url(),
        auth: authMode(init),
        federation: components.federation === null ? ('disabled' as const) : ('enabled' as const),
        source_attestation: 'off' as const,
        namespaces: NAMESPACES,
        spec: `${runtime.url()}/docs`,
        cors: { dev_localhost: false, configured: false },
        peer_id: peerId,
        org,
        fingerprint: await orgFingerprint(components),
        ...(components.federation === null ? {} : meshMembers(peerId, components.federation)),
        software: { name: 'stigmesh', version: init.version },
      },
    };
  },
});

/** Both say only that the process answers; orchestrators know one name or the other. */
function alive(name: string, path: string): Operation {
  return operation({
    name,
    rpc: false,
    method: 'GET',
    path,
    status: 200,
    tag: 'node',
    summary: 'The process answers',
    access: 'open',
    rate: null,
    input: {},
    output: schema.health,
    errors: [],
    handler: async () => ({ body: { status: 'ok' as const } }),
  });
}

const readyz = operation({
  name: 'node.readyz',
  rpc: false,
  method: 'GET',
  path: '/readyz',
  status: 200,
  tag: 'node',
  summary: 'Requests are taken and writes work; if not, the code of why',
  access: 'open',
  rate: null,
  input: {},
  output: schema.health,
  alternatives: { 503: schema.health },
  errors: ['stopping'],
  async handler({ components }) {
    const { ready, code } = components.readiness();
    if (ready) return { body: { status: 'ok' as const } };
    return { status: 503, body: { status: 'unavailable' as const, ...(code === null ? {} : { code }) } };
  },
});

export const nodeOperations: readonly Operation[] = [
  nodeStatus,
  wellKnown,
  alive('node.healthz', '/healthz'),
  alive('node.livez', '/livez'),
  readyz,
];
