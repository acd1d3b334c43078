import { aFact, type Sent } from './support.ts';

/** What is refused: each with the one code that says why. */

const FACTS = '/v1/facts';
const SHA = `sha256:${'0'.repeat(64)}`;
const UNKNOWN = 'bagaaierajilxuxv5szq2c4dsiekd5kh6y6wnbaavpuk6nzdsvs46xcnofuva';
const MIB = 1024 * 1024;

export const post = (body: unknown, path = FACTS): Sent => ({ path, body });
const text = (v: unknown, type = 'string') => aFact({ value: { type, v } });
/** A fact as JSON text with one member spelled as given: what JSON.stringify would not write. */
const spelled = (member: string, json: string) =>
  JSON.stringify(aFact({ [member]: '@' })).replace(`"${member}":"@"`, `"${member}":${json}`);
const spelledValue = (json: string) => JSON.stringify(text('@')).replace('"@"', json);
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
const bytesIn = (...bytes: number[]) => {
  const [before, after] = JSON.stringify(text('@')).split('@');
  return Buffer.concat([Buffer.from(before!), Buffer.from(bytes), Buffer.from(after!)]);
};
const manyMembers = (count: number) => Array.from({ length: count }, (_, i) => `"k${i}":0`).join(',');

/** Name, code, and what is sent. */
export type Case = readonly [string, string, Sent];

const NOT_JSON: readonly Case[] = [
  ...[
    '{',
    '{"entity":',
    'nul',
    "{'a':1}",
    '{"a":1,}',
    '[1,]',
    '{"a":01}',
    '{"a":0x1}',
    '{"a":1}{"b":2}',
    '// {}',
    '"\n"',
  ],
  ...['{"confidence":NaN}', '{"confidence":Infinity}', '{"confidence":-Infinity}', '{"confidence":.5}', '{"a":1e}'],
].map((body): Case => [`not JSON: ${JSON.stringify(body)}`, 'json_invalid', post(body)]);

export const BODIES: readonly Case[] = [
  ...NOT_JSON,
  ['byte order mark', 'json_invalid', post(`\ufeff${JSON.stringify(aFact())}`)],
  ['UTF-16', 'json_invalid', post(Buffer.from(JSON.stringify(aFact()), 'utf16le'))],
  ['byte 0xff', 'json_invalid', post(bytesIn(0xff))],
  ['overlong NUL', 'json_invalid', post(bytesIn(0xc0, 0x80))],
  ['surrogate in UTF-8', 'json_invalid', post(bytesIn(0xed, 0xa0, 0x80))],
  ['truncated UTF-8', 'json_invalid', post(bytesIn(0xe2, 0x82))],
  ['raw control character', 'json_invalid', post(spelledValue('"a\nb"'))],
  ['member twice', 'json_invalid', post(`{"entity":"user:a",${JSON.stringify(aFact()).slice(1)}`)],
  ['member twice, once escaped', 'json_invalid', post(`{"\\u0065ntity":"user:a",${JSON.stringify(aFact()).slice(1)}`)],
  ['member of a value twice', 'json_invalid', post(spelled('value', '{"type":"string","v":1,"v":"a"}'))],
  ['__proto__', 'json_invalid', post(`{"__proto__":{"admin":true},${JSON.stringify(aFact()).slice(1)}`)],
  ['__proto__, escaped', 'json_invalid', post(`{"__pr\\u006fto__":{},${JSON.stringify(aFact()).slice(1)}`)],
  ['__proto__ inside', 'json_invalid', post(spelled('derived_from', '[{"__proto__":{"a":1}}]'))],
  ['nested 65 deep', 'json_invalid', post(nested(65))],
  ['nested 10 000 deep', 'json_invalid', post(nested(10_000))],
  ['nested 10 000 deep in a value', 'json_invalid', post(spelledValue(nested(10_000)))],
  ['opened 4 000 000 times', 'json_invalid', post('['.repeat(4_000_000))],
  ['no body', 'validation_failed', { path: FACTS, method: 'POST', headers: { 'content-type': 'application/json' } }],
  ...['null', '[]', '"x"', '7', 'true'].map((body): Case => [`body ${body}`, 'validation_failed', post(body)]),
  ['10 MB value', 'body_too_large', post(text('a'.repeat(10 * MIB)))],
  ['10 MB, chunked', 'body_too_large', { ...post(text('a'.repeat(10 * MIB))), chunked: true }],
  ['1 000 001 members', 'body_too_large', post(`{${manyMembers(1_000_001)}}`)],
  ['1 001 members', 'body_too_large', post(`{${manyMembers(1001)}}`)],
  ['1 001 members in a value', 'body_too_large', post(spelledValue(`{${manyMembers(1001)}}`))],
  ['100 001 objects', 'body_too_large', post(spelledValue(`[${'{},'.repeat(100_000)}{}]`))],
  ['two million wrong facts', 'body_too_large', post(`{"facts":[${'{},'.repeat(2_000_000)}{}]}`, '/v1/facts/batch')],
  ['four million wrong ids', 'body_too_large', post(spelled('supersedes', `[${'0,'.repeat(4_000_000)}0]`))],
  ['1 001 wrong ids', 'batch_too_large', post(aFact({ supersedes: Array(1001).fill(0) }))],
  ['1 001 facts', 'batch_too_large', post({ facts: Array(1001).fill(aFact()) }, '/v1/facts/batch')],
  ['gzip', 'unsupported_media_type', { ...post(aFact()), headers: { 'content-encoding': 'gzip' } }],
  ['no content type', 'unsupported_media_type', { ...post(aFact()), headers: { 'content-type': '' } }],
  ...[
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/json',
    'application/jso',
  ].map((type): Case => [type, 'unsupported_media_type', { ...post(aFact()), headers: { 'content-type': type } }]),
  [
    'two types in one',
    'unsupported_media_type',
    { ...post(aFact()), headers: { 'content-type': 'application/json, text/plain' } },
  ],
  [
    'chunked without a type',
    'unsupported_media_type',
    { ...post(aFact()), chunked: true, headers: { 'content-type': '' } },
  ],
];

export const MEMBERS: readonly Case[] = [
  ...['entity', 'relation', 'source'].flatMap((member): Case[] => [
    [`${member} missing`, 'validation_failed', post(aFact({ [member]: undefined }))],
    ...[null, 7, true, [], {}, ''].map(
      (v): Case => [`${member} ${JSON.stringify(v)}`, 'validation_failed', post(aFact({ [member]: v }))],
    ),
  ]),
  ...['entity', 'source'].flatMap((member): Case[] =>
    [
      ' ',
      '\t\n ',
      'user:',
      ':x',
      'user: ',
      'stigmem://',
      'stigmem:///user/a',
      'stigmem://a/b',
      'stigmem://a//b',
      'user:a\u0000',
      'user:\u001b[2J',
      'user:\u007f',
      `user:${'a'.repeat(2048)}`,
      'a'.repeat(3 * MIB),
    ].map(
      (uri): Case => [
        `${member} ${JSON.stringify(uri.slice(0, 20))}`,
        'invalid_entity_uri',
        post(aFact({ [member]: uri })),
      ],
    ),
  ),
  ...[' ', '\u00a0', 'memory:\u0000', 'memory:a\nb', 'r'.repeat(257), 'é'.repeat(3 * MIB)].map(
    (r): Case => [`relation ${JSON.stringify(r.slice(0, 20))}`, 'invalid_relation', post(aFact({ relation: r }))],
  ),
  ...['entity', 'relation', 'source'].flatMap((member): Case[] =>
    ['"user:\\ud800"', '"user:\\udc00\\ud800"', '"\\uDFFF:x"'].map(
      (json): Case => [`${member} ${json}`, 'lone_surrogate', post(spelled(member, json))],
    ),
  ),
  ['lone surrogate in a value', 'lone_surrogate', post(spelledValue('"a\\ud800"'))],
  ['lone surrogate in a text', 'lone_surrogate', post(spelled('value', '{"type":"text","v":"\\udfff"}'))],
  ['lone surrogate in evidence', 'lone_surrogate', post(spelled('derived_from', '[{"a":"\\ud800"}]'))],
  ['lone surrogate in a name of evidence', 'lone_surrogate', post(spelled('derived_from', '[{"\\ud800":1}]'))],
  ...['world', 'LOCAL', '', null, 7, ['local']].map(
    (scope): Case => [`scope ${JSON.stringify(scope)}`, 'validation_failed', post(aFact({ scope }))],
  ),
  ...['-0.1', '1.1', '1e999', '-1e999', '"1"', '"NaN"', '"Infinity"', 'null', '[1]', 'true', '1.0000000000000002'].map(
    (json): Case => [`confidence ${json}`, 'validation_failed', post(spelled('confidence', json))],
  ),
  ...['video', 'String', '', null, 7].map(
    (type): Case => [
      `value type ${JSON.stringify(type)}`,
      'validation_failed',
      post(aFact({ value: { type, v: 'a' } })),
    ],
  ),
  ...[undefined, null, 'CEO', 7, []].map(
    (value): Case => [`value ${JSON.stringify(value)}`, 'validation_failed', post(aFact({ value }))],
  ),
  ...(
    [
      ['string', 7],
      ['string', null],
      ['string', undefined],
      ['text', {}],
      ['number', '7'],
      ['number', null],
      ['number', [7]],
      ['boolean', 1],
      ['boolean', 'true'],
      ['null', 0],
      ['null', ''],
      ['ref', 'no uri'],
      ['ref', 'a: b'],
      ['ref', ''],
      ['ref', 'user:\u0000'],
      ['datetime', 7],
    ] as const
  ).map(([type, v]): Case => [`${type} ${JSON.stringify(v)}`, 'invalid_value', post(text(v, type))]),
  ['number 1e999', 'invalid_value', post(spelled('value', '{"type":"number","v":1e999}'))],
  ...[
    '',
    'yesterday',
    '2026-02-30T00:00:00Z',
    '2026-01-01',
    '2026-01-01T00:00:00',
    '2026-01-01T24:00:00Z',
    '2026-01-01T00:00:60Z',
    '2026-01-01T00:00:00+01:00',
    '+012026-01-01T00:00:00Z',
    '2026-01-01T00:00:00Z\u0000',
  ].map((v): Case => [`datetime ${v}`, 'invalid_timestamp', post(text(v, 'datetime'))]),
  ...['', 'never', '2026-13-01T00:00:00Z', '1e999'].map(
    (at): Case => [`valid_until ${at}`, 'invalid_timestamp', post(aFact({ valid_until: at }))],
  ),
  ['valid_until 7', 'validation_failed', post(aFact({ valid_until: 7 }))],
  ['64 KiB and one', 'text_too_large', post(text('a'.repeat(64 * 1024 + 1)))],
  ['64 KiB and one, in two-byte letters', 'text_too_large', post(text(`a${'é'.repeat(32 * 1024)}`, 'text'))],
  ['64 KiB that take six bytes each', 'statement_too_large', post(text('\u0001'.repeat(64 * 1024)))],
  ['evidence of 200 KiB', 'statement_too_large', post(aFact({ derived_from: [{ a: 'a'.repeat(200 * 1024) }] }))],
  ['evidence nested 17 deep', 'too_deep', post(spelled('derived_from', `[{"a":${nested(17)}}]`))],
  ['257 pieces of evidence', 'invalid_ext', post(aFact({ derived_from: Array(257).fill({}) }))],
  ...[7, 'a', null, []].map(
    (item): Case => [`evidence ${JSON.stringify(item)}`, 'validation_failed', post(aFact({ derived_from: [item] }))],
  ),
  ['supersedes what is no id', 'invalid_cid', post(aFact({ supersedes: ['latest'] }))],
  ['supersedes a malformed sha256', 'invalid_cid', post(aFact({ supersedes: [`sha256:${'G'.repeat(64)}`] }))],
  ['supersedes a claim', 'unknown_supersedes', post(aFact({ supersedes: [SHA] }))],
  ['supersedes the unknown', 'unknown_supersedes', post(aFact({ supersedes: [UNKNOWN] }))],
  ['supersedes 101', 'invalid_ext', post(aFact({ supersedes: Array(101).fill(UNKNOWN) }))],
  ['interpret_as code', 'validation_failed', post(aFact({ value: { type: 'string', v: 'a', interpret_as: 'code' } }))],
  ['basis guess', 'validation_failed', post(aFact({ basis: 'guess' }))],
  ['write_mode upsert', 'validation_failed', post(aFact({ write_mode: 'upsert' }))],
  ['attestation', 'attestation_unknown', post(aFact({ attestation: { key_id: 'k', signature: 's' } }))],
  ['unknown garden', 'garden_not_found', post(aFact({ garden_id: 'nowhere' }))],
  [
    'unknown garden by a URI of another org',
    'garden_not_found',
    post(aFact({ garden_id: 'stigmem://evil.example/garden/x' })),
  ],
  ['a conflict as entity', 'reserved_entity', post(aFact({ entity: `stigmem:conflict:${'0'.repeat(32)}` }))],
  ['a resolution as entity', 'reserved_entity', post(aFact({ entity: 'stigmem:resolution:x' }))],
  ['session of 129', 'session_id_too_long', { ...post(aFact()), headers: { 'stigmem-session': 's'.repeat(129) } }],
  [
    'idempotency key of 256',
    'validation_failed',
    { ...post(aFact()), headers: { 'idempotency-key': 'k'.repeat(256) } },
  ],
  [
    'retract what is not there',
    'fact_not_found',
    post({ entity: 'user:x', relation: 'm:x', source: 'a:b' }, '/v1/facts/retract'),
  ],
];

export const QUERIES: readonly Case[] = [
  ['scope=world', 'invalid_query', { path: '/v1/facts?scope=world' }],
  ...['0', '-1', '501', '1.5', 'NaN', 'Infinity', '1e999', 'abc', '0x10', '', '٥'].map(
    (limit): Case => [`limit=${limit}`, 'validation_failed', { path: `/v1/facts?limit=${encodeURIComponent(limit)}` }],
  ),
  ...['-1', '1.1', 'NaN', 'Infinity', '1e999', 'high'].map(
    (c): Case => [`min_confidence=${c}`, 'validation_failed', { path: `/v1/facts?min_confidence=${c}` }],
  ),
  ['include=everything', 'validation_failed', { path: '/v1/facts?include=everything' }],
  ['include_expired=maybe', 'validation_failed', { path: '/v1/facts?include_expired=maybe' }],
  ['limit twice', 'validation_failed', { path: '/v1/facts?limit=1&limit=2' }],
  ['entity twice', 'validation_failed', { path: '/v1/facts?entity=user:a&entity=user:b' }],
  ['entity blank', 'invalid_entity_uri', { path: '/v1/facts?entity=%20' }],
  ['entity empty', 'validation_failed', { path: '/v1/facts?entity=' }],
  ['entity NUL', 'invalid_entity_uri', { path: '/v1/facts?entity=user:%00' }],
  ['relation CRLF', 'invalid_relation', { path: '/v1/facts?relation=m:%0d%0aSet-Cookie:%20a=b' }],
  ['value not JSON', 'validation_failed', { path: '/v1/facts?value=CEO' }],
  ['value with __proto__', 'validation_failed', { path: `/v1/facts?value=${encodeURIComponent('{"__proto__":{}}')}` }],
  ['value nested', 'validation_failed', { path: `/v1/facts?value=${encodeURIComponent(nested(100))}` }],
  ['value of no type', 'validation_failed', { path: `/v1/facts?value=${encodeURIComponent('{"type":"x","v":1}')}` }],
  [
    'value lone surrogate',
    'lone_surrogate',
    { path: `/v1/facts?value=${encodeURIComponent('{"type":"string","v":"\\ud800"}')}` },
  ],
  ['garden unknown', 'garden_not_found', { path: '/v1/facts?garden_id=nowhere' }],
  ['as_of', 'invalid_query', { path: '/v1/facts?as_of=2026-01-01T00:00:00Z' }],
  ['after garbage', 'invalid_query', { path: '/v1/facts?after=yesterday' }],
  ['after no instant', 'invalid_timestamp', { path: '/v1/facts?after=2026-99-01T00:00:00Z' }],
  ...['x', 'AAAA', 'null', '../../etc/passwd', 'a'.repeat(5000), '%00', '%ff'.repeat(3)].map(
    (c): Case => [`cursor ${c.slice(0, 10)}`, 'invalid_cursor', { path: `/v1/facts?cursor=${encodeURIComponent(c)}` }],
  ),
  ['audit cursor garbage', 'invalid_cursor', { path: '/v1/audit?cursor=AAAA' }],
  ['conflict cursor garbage', 'invalid_cursor', { path: '/v1/conflicts?cursor=AAAA' }],
  ['history cursor garbage', 'invalid_cursor', { path: '/v1/facts/history?entity=user:a&relation=m:a&cursor=AAAA' }],
  ['history of nothing', 'validation_failed', { path: '/v1/facts/history' }],
  ['unknown sha256', 'fact_not_found', { path: `/v1/facts/${SHA}` }],
  ['unknown sha256, encoded', 'fact_not_found', { path: `/v1/facts/${encodeURIComponent(SHA)}` }],
  ...[
    'sha256:',
    'sha256:00',
    `sha256:${'0'.repeat(65)}`,
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'g'.repeat(64)}`,
    'sha256:%00',
  ].map((id): Case => [id.slice(0, 12), 'cid_malformed', { path: `/v1/facts/${id}` }]),
  ['unknown statement', 'fact_not_found', { path: `/v1/facts/${UNKNOWN}` }],
  ['not a CID at all', 'fact_not_found', { path: '/v1/facts/constructor' }],
  ['statement with its case changed', 'fact_not_found', { path: `/v1/facts/${UNKNOWN.toUpperCase()}` }],
  ['base32 that is no CID', 'invalid_cid', { path: `/v1/facts/b${'a'.repeat(58)}` }],
  ['id with a header in it', 'fact_not_found', { path: '/v1/facts/x%0d%0aSet-Cookie:%20a=b' }],
  ['provenance of the unknown', 'fact_not_found', { path: `/v1/facts/${UNKNOWN}/provenance` }],
  ['verify the unknown', 'fact_not_found', { path: `/v1/facts/${UNKNOWN}/verify-cid`, body: {} }],
  [
    'resolve the unknown',
    'conflict_not_found',
    post({ verdict: 'both_valid' }, `/v1/conflicts/stigmem:conflict:${'0'.repeat(32)}/resolve`),
  ],
  ['resolve no conflict id', 'conflict_not_found', post({ verdict: 'both_valid' }, '/v1/conflicts/x/resolve')],
  ['conflicts status=open', 'validation_failed', { path: '/v1/conflicts?status=open' }],
  ['lint without scope', 'validation_failed', post({}, '/v1/lint')],
  ['lint of the world', 'invalid_query', post({ scope: 'world' }, '/v1/lint')],
  ['lint of a blank entity', 'invalid_entity_uri', post({ scope: 'local', entity: ' ' }, '/v1/lint')],
  ['lint in the past', 'validation_failed', post({ scope: 'local', stale_lookahead_s: -1 }, '/v1/lint')],
  ['lint beyond time', 'validation_failed', post({ scope: 'local', stale_lookahead_s: 1e300 }, '/v1/lint')],
  ['unknown job', 'job_not_found', { path: '/v1/lint/jobs/__proto__' }],
  ['unknown garden', 'garden_not_found', { path: '/v1/gardens/constructor' }],
  ['members of the unknown', 'garden_not_found', { path: '/v1/gardens/%2e%2e/members' }],
  ['delete the unknown', 'garden_not_found', { method: 'DELETE', path: '/v1/gardens/__proto__' }],
  ...['', 'UPPER CASE', '-a', 'a'.repeat(64), 'a/b', '../x', 'a\u0000', '00000000-0000-0000-0000-000000000000'].map(
    (slug): Case => [
      `slug ${slug.slice(0, 10)}`,
      slug === '' || slug.length > 63 ? 'validation_failed' : 'garden_slug_invalid',
      post({ slug, name: 'x' }, '/v1/gardens'),
    ],
  ),
  ['garden name lone surrogate', 'validation_failed', post('{"slug":"g","name":"\\ud800"}', '/v1/gardens')],
  ['garden name of 201', 'invalid_query', post({ slug: 'g', name: 'x'.repeat(201) }, '/v1/gardens')],
  ['revoke the unknown', 'key_not_found', { method: 'DELETE', path: '/v1/auth/keys/constructor' }],
  ['key for nobody', 'invalid_entity_uri', post({ entity_uri: ' ' }, '/v1/auth/keys')],
  ['key of unknown power', 'key_invalid', post({ entity_uri: 'user:a', permissions: ['root'] }, '/v1/auth/keys')],
  ['key without power', 'key_invalid', post({ entity_uri: 'user:a', permissions: [] }, '/v1/auth/keys')],
  [
    'key of the past',
    'key_invalid',
    post({ entity_uri: 'user:a', expires_at: '2001-01-01T00:00:00Z' }, '/v1/auth/keys'),
  ],
  ['key for ever', 'key_invalid', post({ entity_uri: 'user:a', expires_at: '9999-12-31T23:59:59Z' }, '/v1/auth/keys')],
  ['key that is short', 'validation_failed', post({ entity_uri: 'user:a', raw_key: 'short' }, '/v1/auth/keys')],
  [
    'key with a line break',
    'key_invalid',
    post({ entity_uri: 'user:a', raw_key: `${'k'.repeat(40)}\r\nX: y` }, '/v1/auth/keys'),
  ],
  ['key of another tenant', 'key_invalid', post({ entity_uri: 'user:a', tenant_id: 'other' }, '/v1/auth/keys')],
  [
    'key description lone surrogate',
    'validation_failed',
    post('{"entity_uri":"user:a","description":"\\udfff"}', '/v1/auth/keys'),
  ],
  ['keys that expire in no time', 'validation_failed', { path: '/v1/auth/keys/expiring-soon?within_days=0' }],
  ['audit of the unknown', 'fact_not_found', { path: `/v1/audit/facts/${UNKNOWN}` }],
  ['audit of a claim', 'invalid_query', { path: `/v1/audit?fact_id=${SHA}` }],
  ['audit of what is no id', 'invalid_cid', { path: '/v1/audit?fact_id=x' }],
  ['export of 50 001', 'validation_failed', { path: '/v1/audit/export?limit=50001' }],
];
