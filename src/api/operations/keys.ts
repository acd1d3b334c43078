import { z } from 'zod';
import { NodeError } from '../../node/errors.ts';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/records.ts';
import * as wire from '../wire.ts';
import { type Operation, operation } from './operation.ts';

export const keyOperations: readonly Operation[] = [
  operation({
    name: 'key.create',
    rpc: false,
    method: 'POST',
    path: '/v1/auth/keys',
    status: 201,
    tag: 'keys',
    summary: 'Create an API key',
    access: ['admin'],
    rate: 'write',
    input: { body: schema.keyCreate },
    output: schema.keyCreated,
    errors: ['key_exists', 'key_invalid', 'invalid_entity_uri', 'limit_reached', 'invalid_timestamp', 'lone_surrogate'],
    async handler(call, { body }) {
      const { tenant_id, ...input } = body;
      if (tenant_id != null && tenant_id !== 'default') {
        throw new NodeError('key_invalid', 'tenant_id_invalid: there is one tenant, default', 'leave tenant_id out');
      }
      const { info, secret } = await call.components.keys.create(call.who, input);
      return { body: wire.keyCreated(info, secret) };
    },
  }),
  operation({
    name: 'key.list',
    rpc: false,
    method: 'GET',
    path: '/v1/auth/keys',
    status: 200,
    tag: 'keys',
    summary: 'List your keys; as admin with all=true every key',
    access: 'authenticated',
    rate: 'read',
    input: { query: z.object({ all: z.boolean().default(false) }) },
    output: z.array(schema.keyInfo),
    errors: [],
    async handler(call, { query }) {
      return { body: (await call.components.keys.list(call.who, { all: query.all })).map(wire.keyInfo) };
    },
  }),
  operation({
    name: 'key.expiringSoon',
    rpc: false,
    method: 'GET',
    path: '/v1/auth/keys/expiring-soon',
    status: 200,
    tag: 'keys',
    summary: 'List keys that expire soon',
    access: ['admin'],
    rate: 'read',
    input: { query: z.object({ within_days: z.int().min(1).max(365).default(30) }) },
    output: z.array(schema.expiringKey),
    errors: [],
    async handler(call, { query }) {
      const keys = await call.components.keys.expiringSoon(call.who, query.within_days);
      return { body: keys.map(wire.expiringKey) };
    },
  }),
  operation({
    name: 'key.revoke',
    rpc: false,
    method: 'DELETE',
    path: '/v1/auth/keys/{key_id}',
    status: 204,
    tag: 'keys',
    summary: 'Revoke a key, at once and for good',
    access: 'authenticated',
    rate: 'write',
    input: { params: z.object({ key_id: text }) },
    output: z.null(),
    errors: ['key_not_found', 'permission_denied'],
    async handler(call, { params }) {
      await call.components.keys.revoke(call.who, params.key_id);
      return { body: null };
    },
  }),
  operation({
    name: 'key.me',
    rpc: false,
    method: 'GET',
    path: '/v1/me',
    status: 200,
    tag: 'keys',
    summary: 'Who the presented key belongs to',
    access: 'authenticated',
    rate: 'read',
    input: {},
    output: schema.whoami,
    errors: [],
    handler: async (call) => ({ body: wire.whoami(call.who) }),
  }),
];
