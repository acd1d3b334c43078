import { createHash } from 'node:crypto';
import { z } from 'zod';
import { unwrap } from '../../src/api/schema/input.ts';
import { peerIdFromPublicKey } from '../../src/identity/node-key.ts';

/** A stream of numbers in [0, 1) that depends on the seed alone (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  chance(p: number): boolean {
    return this.next() < p;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/** What earlier answers named, by the member that may want it: ids, cursors, slugs. Bounded; the oldest go first. */
export class Known {
  readonly #values = new Map<string, unknown[]>();

  note(name: string, value: unknown): void {
    if (value === null || value === undefined) return;
    const values = this.#values.get(name) ?? [];
    values.push(value);
    if (values.length > 64) values.shift();
    this.#values.set(name, values);
  }

  pick(name: string, random: Random): unknown {
    const values = this.#values.get(name);
    return values && random.pick(values);
  }
}

const ENTITIES = [
  'user:alice',
  'user:bob',
  'stigmem://acme.example/user/carol',
  'did:key:z6MkA',
  'https://example.org/a?b#c',
  'relation:m:likes',
];
const RELATIONS = [
  'm:role',
  'm:likes',
  'memory:note',
  'bare',
  'stigmem:ttl',
  'stigmem:cardinality',
  'intent:handoff_to',
];
const INSTANTS = [
  '2030-01-01T00:00:00Z',
  '2001-01-01T00:00:00.123456789Z',
  '9999-12-31T23:59:59Z',
  '0000-01-01T00:00:00Z',
  '2026-06-30T23:59:59-12:00',
];
/** Keys that nobody has. */
const PEERS = Array.from({ length: 12 }, (_, at) =>
  peerIdFromPublicKey(createHash('sha256').update(`peer ${at}`).digest()),
);
/** Nobody listens there: closed ports of this machine, and networks for documentation (RFC 5737). */
const ADDRESSES = [
  '/ip4/127.0.0.1/tcp/1',
  '/ip6/::1/tcp/1',
  '/ip4/0.0.0.0/tcp/1',
  '/ip6/::ffff:7f00:1/tcp/1',
  '/ip4/192.0.2.7/tcp/4701',
  '/dns4/peer.invalid/tcp/4701',
  '/unix/tmp/x',
  '/ip4/127.0.0.1/udp/1/quic-v1',
  '/ip4/999.0.0.1/tcp/99999',
  `/ip4/127.0.0.1/tcp/1/p2p/${PEERS[0]}`,
];

/** Strings that have broken something somewhere. */
const NASTY = [
  '',
  ' ',
  '\u0000',
  '\t\r\n',
  'a\u0000b',
  '\ud800',
  '\udc00\ud800',
  '\ufeff',
  '\u202e',
  '\u200b',
  '\u0085',
  '\u2028',
  '😀',
  'é',
  'e\u0301',
  'İ',
  'ﬁ',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'undefined',
  'NaN',
  '-0',
  '1e999',
  '0x10',
  '[object Object]',
  '{}',
  '[]',
  '%',
  '%00',
  '%zz',
  '%252f',
  '../..',
  '//',
  '\\',
  '/',
  '?',
  '#',
  '*',
  'a b',
  '=1+1',
  "'",
  '"',
  '`',
  '<script>',
  '$\u007b7*7}',
  '{{7*7}}',
  "' OR 1=1 --",
  '$(id)',
  ';',
  '\u001b[2J',
  'stigmem://',
  'stigmem:///a/b',
  'stigmem://a/b/c',
  'stigmem:conflict:x',
  `stigmem:conflict:${'0'.repeat(32)}`,
  'sha256:',
  `sha256:${'0'.repeat(64)}`,
  `sha256:${'F'.repeat(64)}`,
  `b${'a'.repeat(58)}`,
  'bagaaiera',
  '1795250097467.000',
  '9999999999999.999',
  '0000000000000.000',
  '2026-01-01T00:00:00Z',
  '9999-12-31T23:59:59-23:59',
  'local',
  'LOCAL',
  'x'.repeat(256),
  'x'.repeat(2049),
  'é'.repeat(1025),
  'x'.repeat(70_000),
  'a:'.repeat(500),
  '%41'.repeat(300),
  ':'.repeat(300),
];
const NUMBERS = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2,
  500,
  501,
  1e3,
  1e15,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
  1e20,
  1e300,
  -1e300,
  5e-324,
  0.1 + 0.2,
  8.64e15,
  253402300800,
];

export interface GenerateInit {
  readonly random: Random;
  readonly known: Known;
}

/** Makes inputs from zod schemas: such as fit, such as fit but for one place, and such as fit nothing. */
export class Generator {
  readonly #random: Random;
  readonly #known: Known;

  constructor({ random, known }: GenerateInit) {
    this.#random = random;
    this.#known = known;
  }

  /** A value that the schema accepts, mostly one that makes sense. */
  valid(schema: z.ZodType, name = ''): unknown {
    const random = this.#random;
    if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) {
      return random.chance(this.#isWanted(name) ? 0.3 : 0.75)
        ? undefined
        : this.valid(schema.unwrap() as z.ZodType, name);
    }
    if (schema instanceof z.ZodNullable)
      return random.chance(0.5) ? null : this.valid(schema.unwrap() as z.ZodType, name);
    if (schema instanceof z.ZodObject) return this.#object(schema, name);
    if (schema instanceof z.ZodArray) {
      const length = name === 'facts' ? 1 + random.below(6) : random.below(3);
      return Array.from({ length }, () => this.valid(schema.element as z.ZodType, name));
    }
    if (schema instanceof z.ZodRecord && name === 'manifest') return this.#known.pick(name, random) ?? this.absurd(2);
    if (schema instanceof z.ZodRecord)
      return { [random.pick(['fact_id', 'hash', 'note'])]: this.#text('fact_id'), n: random.pick(NUMBERS) };
    if (schema instanceof z.ZodEnum) return random.pick(schema.options);
    if (schema instanceof z.ZodLiteral) return [...schema.values][0];
    if (schema instanceof z.ZodBoolean) return random.chance(0.5);
    if (schema instanceof z.ZodNumber) {
      const least = Math.max(schema.minValue ?? 0, -1e6);
      const most = Math.min(schema.maxValue ?? 1e6, 1e6);
      const at = random.pick([0, 1, random.next(), random.next() / 20]);
      return schema.isInt ? Math.round(least + at * (most - least)) : least + at * (most - least);
    }
    if (schema instanceof z.ZodUnion) return this.valid(random.pick(schema.options) as z.ZodType, name);
    if (schema instanceof z.ZodString) return this.#text(name);
    return this.absurd(1);
  }

  /** As valid, with one place changed into something else. */
  almost(schema: z.ZodType): unknown {
    const value = this.valid(schema);
    const places: { holder: Record<string, unknown>; name: string }[] = [];
    const collect = (of: unknown): void => {
      if (typeof of !== 'object' || of === null) return;
      for (const [name, member] of Object.entries(of)) {
        places.push({ holder: of as Record<string, unknown>, name });
        collect(member);
      }
    };
    collect(value);
    if (places.length === 0) return this.absurd(1);
    const { holder, name } = this.#random.pick(places);
    switch (this.#random.below(5)) {
      case 0:
        delete holder[name];
        break;
      case 1:
        holder[name] = this.#random.pick(NASTY);
        break;
      case 2:
        holder[name] = this.#random.pick(NUMBERS);
        break;
      case 3:
        holder[`${this.#random.pick(NASTY).slice(0, 40)}x`] = this.absurd(2);
        break;
      default:
        holder[name] = this.absurd(2);
    }
    return value;
  }

  /** Any JSON. */
  absurd(depth: number): unknown {
    const random = this.#random;
    switch (random.below(depth > 0 ? 7 : 5)) {
      case 0:
        return null;
      case 1:
        return random.chance(0.5);
      case 2:
        return random.pick(NUMBERS);
      case 3:
        return random.pick(NASTY);
      case 4:
        return String.fromCharCode(...Array.from({ length: random.below(12) }, () => random.below(0x10000)));
      case 5:
        return Array.from({ length: random.below(5) }, () => this.absurd(depth - 1));
      default: {
        const members = Array.from({ length: random.below(5) }, () => [
          `${random.pick(NASTY).slice(0, 20)}k`,
          this.absurd(depth - 1),
        ]);
        return Object.fromEntries(members);
      }
    }
  }

  nasty(): string {
    return this.#random.pick(NASTY);
  }

  #isWanted(name: string): boolean {
    return ['scope', 'raw', 'garden_id', 'supersedes', 'new_value', 'winning_fact_id', 'verdict'].includes(name);
  }

  #object(schema: z.ZodObject, name: string): unknown {
    const { type, v } = schema.shape as Record<string, z.ZodType | undefined>;
    const isValue = type !== undefined && v !== undefined && unwrap(type) instanceof z.ZodEnum;
    const made: Record<string, unknown> = {};
    for (const [member, inner] of Object.entries(schema.shape)) {
      const value = this.valid(inner as z.ZodType, member === 'fact_id' && name !== '' ? name : member);
      if (value !== undefined) made[member] = value;
    }
    if (isValue) made.v = this.#valueOf(made.type);
    return made;
  }

  #valueOf(type: unknown): unknown {
    const random = this.#random;
    switch (type) {
      case 'number':
        return random.pick(NUMBERS);
      case 'boolean':
        return random.chance(0.5);
      case 'null':
        return null;
      case 'datetime':
        return random.pick(INSTANTS);
      case 'ref':
        return random.pick(ENTITIES);
      default:
        return random.chance(0.7)
          ? random.pick(['many', 'CEO', 'CTO', 'tea', 'x'.repeat(random.below(3000))])
          : random.pick(NASTY);
    }
  }

  #text(name: string): string {
    const random = this.#random;
    const known = random.chance(0.85) ? this.#known.pick(name, random) : undefined;
    if (typeof known === 'string') return known;
    switch (name) {
      case 'entity':
      case 'entity_uri': {
        const id = this.#known.pick('fact_id', random);
        return random.chance(0.15) && typeof id === 'string' ? `fact:${id}` : random.pick(ENTITIES);
      }
      case 'source':
        return random.pick(ENTITIES);
      case 'relation':
        return random.pick(RELATIONS);
      case 'relation_prefix':
        return random.pick(['m:', 'memory:', 'm', 'stigmem:', 'é']);
      case 'valid_until':
      case 'expires_at':
        return random.chance(0.4)
          ? new Date(Date.now() + random.below(4000) - 1000).toISOString()
          : random.pick(INSTANTS);
      case 'after':
        return random.pick([...INSTANTS, '1795250097467.000', '7', '0']);
      case 'peer_id':
      case 'node_id':
        return random.pick(PEERS);
      case 'addrs':
      case 'node_url':
        return random.pick(ADDRESSES);
      case 'namespaces':
        return random.pick(['', 'm', 'memory', 'acme.example', 'sub.acme.example']);
      case 'authority':
      case 'org':
        return random.pick(['acme.example', 'stigmem://acme.example/agent/x', 'other.example', 'ACME.EXAMPLE']);
      case 'invite':
        return random.pick(['stigmesh-invite:1:', 'stigmesh-invite:2:AAAA', `stigmesh-invite:1:${'0'.repeat(400)}`]);
      case 'slug':
        return `g${random.below(40)}`;
      case 'permissions':
        return random.pick(['read', 'write', 'admin', 'audit.read', 'federate']);
      case 'raw_key':
        return `raw-${random.below(1e9)}-${'k'.repeat(30)}`;
      default:
        return random.chance(0.6) ? random.pick(['x', 'y', 'a note', 'key-1', 'key-2']) : random.pick(NASTY) || 'x';
    }
  }
}
