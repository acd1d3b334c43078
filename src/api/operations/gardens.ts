import { z } from 'zod';
import { text } from '../schema/facts.ts';
import * as schema from '../schema/records.ts';
import * as wire from '../wire.ts';
import { type Operation, operation } from './operation.ts';

const gardenName = { garden_slug_or_id: text.describe('Slug or id') };
const gardenPath = z.object(gardenName);
const memberPath = z.object({ ...gardenName, entity_uri: text.describe('Raw or percent-encoded') });
const membership = [
  'garden_not_found',
  'garden_forbidden',
  'member_not_found',
  'last_admin',
  'invalid_entity_uri',
  'lone_surrogate',
] as const;

export const gardenOperations: readonly Operation[] = [
  operation({
    name: 'garden.create',
    method: 'POST',
    path: '/v1/gardens',
    status: 201,
    tag: 'gardens',
    summary: 'Create a garden; its creator becomes admin',
    access: ['write'],
    rate: 'write',
    input: { body: schema.gardenCreate },
    output: schema.garden,
    errors: ['garden_exists', 'garden_slug_invalid', 'scope_denied', 'limit_reached', 'invalid_query'],
    handler: async (call, { body }) => ({ body: wire.garden(await call.components.gardens.create(call.who, body)) }),
  }),
  operation({
    name: 'garden.list',
    method: 'GET',
    path: '/v1/gardens',
    status: 200,
    tag: 'gardens',
    summary: 'List the gardens you may see; members are left out',
    access: ['read'],
    rate: 'read',
    input: {},
    output: z.array(schema.garden),
    errors: [],
    async handler(call) {
      const gardens = await call.components.gardens.list(call.who);
      return { body: gardens.map((garden) => wire.garden({ ...garden, members: [] })) };
    },
  }),
  operation({
    name: 'garden.get',
    method: 'GET',
    path: '/v1/gardens/{garden_slug_or_id}',
    status: 200,
    tag: 'gardens',
    summary: 'Get a garden with its members',
    access: ['read'],
    rate: 'read',
    input: { params: gardenPath },
    output: schema.garden,
    errors: ['garden_not_found', 'garden_forbidden'],
    async handler(call, { params }) {
      return { body: wire.garden(await call.components.gardens.get(call.who, params.garden_slug_or_id)) };
    },
  }),
  operation({
    name: 'garden.delete',
    method: 'DELETE',
    path: '/v1/gardens/{garden_slug_or_id}',
    status: 204,
    tag: 'gardens',
    summary: 'Delete a garden; its facts stay, readable by admins of the node only',
    access: ['write'],
    rate: 'write',
    input: { params: gardenPath },
    output: z.null(),
    errors: ['garden_not_found', 'garden_forbidden'],
    async handler(call, { params }) {
      await call.components.gardens.remove(call.who, params.garden_slug_or_id);
      return { body: null };
    },
  }),
  operation({
    name: 'garden.members',
    method: 'GET',
    path: '/v1/gardens/{garden_slug_or_id}/members',
    status: 200,
    tag: 'gardens',
    summary: 'List the members of a garden',
    access: ['read'],
    rate: 'read',
    input: { params: gardenPath },
    output: z.array(schema.gardenMember),
    errors: ['garden_not_found', 'garden_forbidden'],
    async handler(call, { params }) {
      const members = await call.components.gardens.members(call.who, params.garden_slug_or_id);
      return { body: members.map((member) => ({ ...member })) };
    },
  }),
  operation({
    name: 'garden.addMember',
    method: 'POST',
    path: '/v1/gardens/{garden_slug_or_id}/members',
    status: 201,
    tag: 'gardens',
    summary: 'Add a member to a garden',
    access: ['write'],
    rate: 'write',
    input: { params: gardenPath, body: schema.gardenMemberAdd },
    output: schema.gardenMember,
    errors: [
      'garden_not_found',
      'garden_forbidden',
      'member_exists',
      'invalid_entity_uri',
      'limit_reached',
      'lone_surrogate',
    ],
    async handler(call, { params, body }) {
      return { body: { ...(await call.components.gardens.addMember(call.who, params.garden_slug_or_id, body)) } };
    },
  }),
  operation({
    name: 'garden.setRole',
    method: 'PATCH',
    path: '/v1/gardens/{garden_slug_or_id}/members/{entity_uri*}',
    status: 200,
    tag: 'gardens',
    summary: 'Change the role of a member',
    access: ['write'],
    rate: 'write',
    input: { params: memberPath, body: schema.gardenMemberUpdate },
    output: schema.gardenMember,
    errors: membership,
    async handler(call, { params, body }) {
      const { gardens } = call.components;
      const member = await gardens.setRole(call.who, params.garden_slug_or_id, params.entity_uri, body.role);
      return { body: { ...member } };
    },
  }),
  operation({
    name: 'garden.removeMember',
    method: 'DELETE',
    path: '/v1/gardens/{garden_slug_or_id}/members/{entity_uri*}',
    status: 204,
    tag: 'gardens',
    summary: 'Remove a member',
    access: ['write'],
    rate: 'write',
    input: { params: memberPath },
    output: z.null(),
    errors: membership,
    async handler(call, { params }) {
      await call.components.gardens.removeMember(call.who, params.garden_slug_or_id, params.entity_uri);
      return { body: null };
    },
  }),
];
