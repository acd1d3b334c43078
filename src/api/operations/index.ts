import { z } from 'zod';
import { MESH_EVENT_NAMES } from '../events/mesh.ts';
import { SSE_HEARTBEAT_MS } from '../limits.ts';
import { scope, text } from '../schema/facts.ts';
import { auditOperations, auditStreams } from './audit.ts';
import { conflictOperations } from './conflicts.ts';
import { factOperations } from './facts.ts';
import { gardenOperations } from './gardens.ts';
import { keyOperations } from './keys.ts';
import { lintOperations } from './lint.ts';
import { meshOperations } from './mesh.ts';
import { nodeOperations } from './node.ts';
import type { Endpoint, ServerEndpoint } from './operation.ts';
import { orgOperations } from './org.ts';
import { peerOperations } from './peers.ts';
import { exportEndpoint, importEndpoint } from './transfer.ts';

export const eventQuery = z.object({
  entity: text.optional(),
  relation: text.optional().describe('Exact, or a prefix that ends in an asterisk: `memory:*`'),
  relation_prefix: text.optional(),
  scope: scope.optional(),
  source: text.optional(),
  events: z
    .array(z.enum(['commits', 'mesh']))
    .min(1)
    .max(2)
    .optional()
    .describe('What to follow, comma separated. Default: both, with a filter above commits alone'),
  after: text.optional().describe('Local sequence number; only later commits. The header Last-Event-ID goes before it'),
});

const server = (
  endpoint: Omit<ServerEndpoint, 'kind' | 'input' | 'status' | 'errors'> & Partial<ServerEndpoint>,
): ServerEndpoint => ({ kind: 'server', status: 200, input: {}, errors: [], ...endpoint });

/** Endpoints that are not one JSON answer to one JSON request. */
export const eventsEndpoint = server({
  name: 'node.events',
  method: 'GET',
  path: '/v1/events',
  tag: 'events',
  summary: 'Follow commits, and what happens on the mesh, as server-sent events',
  description:
    `Events \`fact\`, \`resolution\` and \`reset\`; with the permission federate or admin also ` +
    `${MESH_EVENT_NAMES.map((name) => `\`${name}\``).join(', ')}. A heartbeat every ${SSE_HEARTBEAT_MS / 1000} s.`,
  access: ['read'],
  rate: 'read',
  produces: 'text/event-stream',
  input: { query: eventQuery, headers: z.object({ last_event_id: z.string().optional() }) },
  errors: ['too_many_clients', 'invalid_query', 'invalid_entity_uri', 'invalid_relation'],
});

export const rpcEndpoint = server({
  name: 'rpc',
  method: 'POST',
  path: '/rpc',
  tag: 'rpc',
  summary: 'JSON-RPC 2.0: the same operations; `rpc.discover` answers an OpenRPC document',
  access: 'authenticated',
  rate: null,
  produces: 'application/json',
});

export const metricsEndpoint = server({
  name: 'node.metrics',
  method: 'GET',
  path: '/metrics',
  tag: 'node',
  summary: 'Metrics in the text format of Prometheus',
  access: 'metrics',
  rate: null,
  produces: 'text/plain',
});

export const openApiEndpoint = server({
  name: 'node.openapi',
  method: 'GET',
  path: '/openapi.json',
  tag: 'node',
  summary: 'This document',
  access: 'open',
  rate: null,
  produces: 'application/json',
});

/** Every endpoint of the API, once. Routes, JSON-RPC methods and documents are made from this list. */
export const endpoints: readonly Endpoint[] = [
  ...factOperations,
  ...conflictOperations,
  ...gardenOperations,
  ...lintOperations,
  ...keyOperations,
  ...auditOperations,
  ...auditStreams,
  ...nodeOperations,
  ...peerOperations,
  ...meshOperations,
  ...orgOperations,
  exportEndpoint,
  importEndpoint,
  eventsEndpoint,
  rpcEndpoint,
  metricsEndpoint,
  openApiEndpoint,
];
