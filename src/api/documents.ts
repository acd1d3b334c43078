import { z } from 'zod';
import { ERRORS, type ErrorCode } from './errors.ts';
import type { Endpoint, Operation } from './operations/operation.ts';
import { mergedParams } from './rpc/rpc.ts';
import { schemaNames } from './schema/names.ts';

type Json = Record<string, unknown>;

export interface DocumentInit {
  readonly version: string;
  readonly url: string;
}

/** Errors every call with a body, a key or a permission can meet. */
const COMMON_ERRORS: readonly ErrorCode[] = [
  'validation_failed',
  'host_forbidden',
  'origin_forbidden',
  'key_in_query',
  'busy',
  'stopping',
  'internal_error',
];
const KEY_ERRORS: readonly ErrorCode[] = [
  'authorization_required',
  'api_key_invalid',
  'permission_denied',
  'auth_throttled',
  'rate_limited',
];
const BODY_ERRORS: readonly ErrorCode[] = ['json_invalid', 'body_too_large', 'unsupported_media_type'];
const WRITE_ERRORS: readonly ErrorCode[] = ['store_full', 'store_readonly', 'store_io'];

/** Every error an endpoint can answer. */
export function errorsOf(endpoint: Endpoint): readonly ErrorCode[] {
  const codes: ErrorCode[] = [...endpoint.errors, ...COMMON_ERRORS];
  if (endpoint.access !== 'open') codes.push(...KEY_ERRORS);
  if (endpoint.method !== 'GET') codes.push(...BODY_ERRORS);
  if (endpoint.rate === 'write') codes.push(...WRITE_ERRORS);
  return [...new Set(codes)];
}

/** Turns zod schemas into JSON Schema 2020-12 and collects the named ones. */
class Components {
  readonly schemas: Json = {};

  schema(schema: z.ZodType, io: 'input' | 'output'): Json {
    const {
      $schema: _dialect,
      $defs,
      ...document
    } = z.toJSONSchema(schema, {
      metadata: schemaNames,
      target: 'draft-2020-12',
      unrepresentable: 'any',
      io,
    }) as Json;
    for (const [name, definition] of Object.entries(($defs ?? {}) as Json)) this.schemas[name] = relocate(definition);
    return relocate(document) as Json;
  }
}

/** Named schemas move from `$defs` to the document's components. */
function relocate(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(relocate);
  if (typeof json !== 'object' || json === null) return json;
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => [
      name,
      name === '$ref' && typeof value === 'string'
        ? value.replace('#/$defs/', '#/components/schemas/')
        : relocate(value),
    ]),
  );
}

const PROBLEM: Json = {
  type: 'object',
  description: 'RFC 9457 problem; `detail` as Stigmem’s clients read it',
  required: ['type', 'title', 'status', 'code', 'hint', 'detail'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', enum: Object.keys(ERRORS) },
    hint: { type: 'string' },
    detail: {
      anyOf: [
        { type: 'string' },
        { type: 'object', properties: { code: { type: 'string' }, message: { type: 'string' } } },
        {
          type: 'array',
          items: {
            type: 'object',
            required: ['type', 'loc', 'msg'],
            properties: {
              type: { type: 'string' },
              loc: { type: 'array', items: { anyOf: [{ type: 'string' }, { type: 'integer' }] } },
              msg: { type: 'string' },
            },
          },
        },
      ],
    },
  },
};

/** OpenAPI 3.1 document of all endpoints. */
export function openApiDocument(endpoints: readonly Endpoint[], { version, url }: DocumentInit): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const endpoint of endpoints) {
    const path = endpoint.path.replace('*}', '}');
    paths[path] ??= {};
    paths[path][endpoint.method.toLowerCase()] = openApiOperation(endpoint, components);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Stigmesh local API',
      version,
      description: 'Signed, shared memory for agents. Wire shapes are Stigmem’s; further members are ours.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url }],
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'API key' } },
      schemas: { ...components.schemas, Problem: PROBLEM },
    },
  };
}

function openApiOperation(endpoint: Endpoint, components: Components): Json {
  const { input } = endpoint;
  const parameters = [
    ...parameterList(input.params, 'path', components),
    ...parameterList(input.query, 'query', components),
    ...parameterList(input.headers, 'header', components),
  ];
  return {
    operationId: endpoint.name,
    tags: [endpoint.tag],
    summary: endpoint.summary,
    ...(endpoint.description === undefined ? {} : { description: endpoint.description }),
    ...(endpoint.access === 'open' ? { security: [] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...requestBody(endpoint, components),
    responses: responses(endpoint, components),
  };
}

function parameterList(schema: z.ZodObject | undefined, place: 'path' | 'query' | 'header', components: Components) {
  return Object.entries(schema?.shape ?? {}).map(([name, member]) => {
    const { description, ...json } = components.schema(member as z.ZodType, 'input');
    const isObject = json.type === 'object';
    return {
      name: place === 'header' ? headerName(name) : name,
      in: place,
      required: place === 'path' || !(member as z.ZodType).safeParse(undefined).success,
      ...(description === undefined ? {} : { description }),
      ...(isObject ? { content: { 'application/json': { schema: json } } } : { schema: json }),
      ...(json.type === 'array' ? { style: 'form', explode: false } : {}),
    };
  });
}

/** `idempotency_key` is the header Idempotency-Key. */
export function headerName(name: string): string {
  return name.replace(
    /(^|_)([a-z])/g,
    (_all, gap: string, letter: string) => `${gap === '' ? '' : '-'}${letter.toUpperCase()}`,
  );
}

function requestBody(endpoint: Endpoint, components: Components): Json {
  if (endpoint.kind === 'upload') {
    return { requestBody: { required: true, content: { [endpoint.consumes]: { schema: { type: 'string' } } } } };
  }
  if (endpoint.name === 'rpc') {
    return { requestBody: { required: true, content: { 'application/json': { schema: {} } } } };
  }
  const { body } = endpoint.input;
  if (body === undefined) return {};
  return {
    requestBody: { required: true, content: { 'application/json': { schema: components.schema(body, 'input') } } },
  };
}

function responses(endpoint: Endpoint, components: Components): Json {
  const result: Json = { [endpoint.status]: success(endpoint, components) };
  if (endpoint.kind === 'json') {
    for (const [status, schema] of Object.entries(endpoint.alternatives ?? {})) {
      result[status] = jsonContent('Other outcome', components.schema(schema, 'output'));
    }
  }
  const byStatus = Map.groupBy(errorsOf(endpoint), (code) => ERRORS[code].status);
  for (const [status, codes] of [...byStatus].sort(([a], [b]) => a - b)) {
    result[status] ??= {
      description: codes.map((code) => `\`${code}\``).join(', '),
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    };
  }
  return result;
}

function success(endpoint: Endpoint, components: Components): Json {
  if (endpoint.status === 204) return { description: 'Done' };
  if (endpoint.kind === 'json' || endpoint.kind === 'upload') {
    return jsonContent('OK', components.schema(endpoint.output, 'output'));
  }
  const schema = endpoint.produces === 'application/json' ? {} : { type: 'string' };
  return { description: 'OK', content: { [endpoint.produces]: { schema } } };
}

function jsonContent(description: string, schema: Json): Json {
  return { description, content: { 'application/json': { schema } } };
}

/** OpenRPC 1.3 document of the JSON-RPC methods: the result of `rpc.discover`. https://spec.open-rpc.org */
export function openRpcDocument(operations: readonly Operation[], { version, url }: DocumentInit): Json {
  const components = new Components();
  const methods = operations
    .filter(({ rpc }) => rpc)
    .map((operation) => ({
      name: operation.name,
      summary: operation.summary,
      ...(operation.description === undefined ? {} : { description: operation.description }),
      tags: [{ name: operation.tag }],
      paramStructure: 'by-name',
      params: Object.entries(mergedParams(operation).shape).map(([name, member]) => {
        const { description, ...schema } = components.schema(member as z.ZodType, 'input');
        return {
          name,
          required: !(member as z.ZodType).safeParse(undefined).success,
          ...(description === undefined ? {} : { description }),
          schema,
        };
      }),
      result: { name: 'result', schema: components.schema(operation.output, 'output') },
      errors: errorsOf(operation)
        .filter((code) => ERRORS[code].rpc > -32600)
        .map((code) => ({ code: ERRORS[code].rpc, message: ERRORS[code].title, data: { code } })),
    }));
  return {
    openrpc: '1.3.2',
    info: { title: 'Stigmesh local API', version, license: { name: 'Apache-2.0' } },
    servers: [{ name: 'local', url: `${url}/rpc` }],
    methods,
    components: { schemas: components.schemas },
  };
}
