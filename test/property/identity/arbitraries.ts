import fc from 'fast-check';
import { formatHlc, type JsonObject, type JsonValue } from '../../../src/facts/index.ts';
import { isNamespace } from '../../../src/identity/declaration.ts';
import {
  createManifest,
  type Invite,
  type OrgManifest,
  rawPublicKey,
  renewed,
  SHARED_SCOPES,
  withNode,
  withoutNode,
  withRotation,
} from '../../../src/identity/index.ts';
import { fixedKey, fixedPeer } from '../../support/org.ts';
import { unicode } from '../facts/runs.ts';

export const NOW = Date.UTC(2026, 10, 21);

export const scopes = fc.subarray([...SHARED_SCOPES]);
export const nonce = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/);
export const authority = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
const namespace = fc.oneof(fc.constantFrom('', 'memory', 'roadmap'), unicode.filter(isNamespace));
export const namespaces = fc.option(
  fc.uniqueArray(namespace, { maxLength: 8 }).map((names) => names.sort((a, b) => (a < b ? -1 : 1))),
);
const port = fc.integer({ min: 1, max: 65535 });
export const addr = fc.oneof(
  fc.tuple(fc.ipV4(), port).map(([ip, at]) => `/ip4/${ip}/tcp/${at}`),
  fc.tuple(fc.ipV6(), port).map(([ip, at]) => `/ip6/${ip}/tcp/${at}`),
  fc.tuple(authority, port).map(([name, at]) => `/dns4/${name}/tcp/${at}`),
);
export const addrs = fc.uniqueArray(addr, { maxLength: 6 });

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

export const invite: fc.Arbitrary<Invite> = fc
  .record({
    node: fc.integer({ min: 1, max: 255 }),
    org: authority,
    orgKey: bytes(32),
    addrs,
    id: bytes(8).map((id) => Buffer.from(id).toString('hex')),
    secret: bytes(16),
    expiresAt: fc.nat(NOW * 2),
    gives: scopes,
    takes: scopes,
    namespaces,
  })
  .map(({ node, addrs: bare, ...rest }) => {
    const peerId = fixedPeer(node);
    return { ...rest, peerId, addrs: bare.map((one) => `${one}/p2p/${peerId}`) };
  });

/** A change of a manifest, whatever state it is in. */
export type Edit =
  | { readonly kind: 'node'; readonly node: number; readonly below: readonly string[] }
  | { readonly kind: 'revoke'; readonly node: number; readonly at: number }
  | { readonly kind: 'rotate' }
  | { readonly kind: 'renew' };
const node = fc.integer({ min: 100, max: 106 });
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ kind: fc.constant('node' as const), node, below: fc.uniqueArray(label, { maxLength: 3 }) }),
  fc.record({ kind: fc.constant('revoke' as const), node, at: fc.nat(1000) }),
  fc.constant({ kind: 'rotate' as const }),
  fc.constant({ kind: 'renew' as const }),
);

/** Every manifest of a history, oldest first. Org keys are the fixed ones from 1 on. */
export const history: fc.Arbitrary<readonly OrgManifest[]> = fc
  .tuple(authority, fc.array(edit, { maxLength: 8 }))
  .map(([name, edits]) => {
    let key = 1;
    const all = [createManifest({ authority: name, peerId: fixedPeer(100) }, { orgKey: fixedKey(key), now: NOW })];
    for (const [at, one] of edits.entries()) {
      const last = all.at(-1)!;
      const signing = { orgKey: fixedKey(key), now: NOW + at };
      const listed = 'node' in one ? last.nodes.find(({ peer_id }) => peer_id === fixedPeer(one.node)) : undefined;
      if (one.kind === 'node' && listed?.revoked_at === undefined) {
        const below = one.below.map((part) => `${part}.${name}`);
        all.push(withNode(last, { peerId: fixedPeer(one.node), namespaces: below }, signing));
      } else if (one.kind === 'revoke' && listed !== undefined) {
        all.push(withoutNode(last, fixedPeer(one.node), formatHlc(NOW, one.at % 1000), signing));
      } else if (one.kind === 'rotate') {
        all.push(withRotation(last, fixedKey(++key), signing));
      } else all.push(renewed(last, signing));
    }
    return all;
  });

/** What may stand in place of any member. */
const anything = fc.oneof(
  fc.jsonValue() as fc.Arbitrary<JsonValue>,
  fc.constantFrom<JsonValue>(null, '', [], {}, 0, -1, 2 ** 60, 'x', 'stigmesh', rawKeyText(9)),
);

function rawKeyText(byte: number): string {
  return Buffer.from(rawPublicKey(fixedKey(byte))).toString('base64url');
}

/** JSON with one place changed: a member replaced, removed or added, an entry replaced, doubled or removed. */
export function mutated(value: JsonObject): fc.Arbitrary<JsonObject> {
  const places = placesOf(value, []);
  return fc
    .record({
      place: fc.constantFrom(...places),
      how: fc.constantFrom('replace', 'remove', 'add', 'double'),
      name: fc.oneof(fc.string({ maxLength: 5 }), fc.constantFrom('__proto__', 'constructor', 'v', 'signature')),
      to: anything,
    })
    .map(({ place, how, name, to }) => changed(value, place, how, name, to) as JsonObject);
}

type Place = readonly (string | number)[];

function placesOf(value: JsonValue | undefined, place: Place): Place[] {
  const inner =
    typeof value !== 'object' || value === null
      ? []
      : Array.isArray(value)
        ? value.flatMap((item: JsonValue, at) => placesOf(item, [...place, at]))
        : Object.entries(value).flatMap(([name, member]) => placesOf(member as JsonValue, [...place, name]));
  return place.length === 0 ? inner : [place, ...inner];
}

function changed(value: JsonValue, [at, ...rest]: Place, how: string, name: string, to: JsonValue): JsonValue {
  if (Array.isArray(value)) {
    const items = [...(value as JsonValue[])];
    const index = at as number;
    if (rest.length > 0) items[index] = changed(items[index]!, rest, how, name, to);
    else if (how === 'remove') items.splice(index, 1);
    else if (how === 'double') items.push(items[index]!);
    else if (how === 'add') items.push(to);
    else items[index] = to;
    return items;
  }
  const members = new Map(Object.entries(value as JsonObject) as [string, JsonValue][]);
  const member = at as string;
  if (rest.length > 0) members.set(member, changed(members.get(member)!, rest, how, name, to));
  else if (how === 'remove') members.delete(member);
  else if (how === 'replace') members.set(member, to);
  else members.set(name, how === 'add' ? to : members.get(member)!);
  // Object.fromEntries makes `__proto__` a member like any other.
  return Object.fromEntries(members);
}
