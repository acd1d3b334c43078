import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';
import { isAuthority, normalizeRelation, SCOPES } from '../facts/index.ts';
import {
  MAX_ALLOWED_HOSTS,
  MAX_ANNOUNCED_ADDRESSES,
  MAX_BATCH_FACTS,
  MAX_BODY_LIMIT,
  MAX_BOOTSTRAP_PEERS,
  MAX_INVITE_HOURS,
  MAX_LISTEN_ADDRESSES,
  MAX_TRUSTED_RESOLVERS,
  MIN_BODY_LIMIT,
} from './limits.ts';

/** Version of the file format; raised when a key changes its meaning. */
export const CONFIG_VERSION = 1;

/** Fastify's host names and IP literals; ports and schemes do not belong here. */
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\.?|\[?[0-9A-Fa-f:.]+\]?)$/;

const count = (minimum: number, maximum: number) => z.int().min(minimum).max(maximum);

/** A list in the file; one text, comma separated, in a variable or on the command line. */
function list<T extends z.ZodType<string, string>>(item: T, minimum: number, maximum: number) {
  const split = z.string().transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  );
  return z.union([split, z.array(z.string())]).pipe(z.array(item).min(minimum).max(maximum));
}

const host = z.string().regex(HOST, 'expected a host name or an IP address, without scheme or port');

const listenAddress = z
  .string()
  .refine(isListenAddress, 'expected a multiaddr such as /ip4/0.0.0.0/tcp/4701 or /ip6/::1/tcp/4701');

const announcedAddress = z
  .string()
  .refine(
    (text) => isTcpAddress(text, true, 1),
    'expected a multiaddr others can dial, such as /dns/mesh.acme.example/tcp/4701 or /ip4/192.0.2.7/tcp/4701',
  );

const bootstrapPeer = z.string().refine((text) => {
  const [, address = '', peerId = ''] = /^(.*)\/p2p\/([^/]*)$/.exec(text) ?? [];
  return isTcpAddress(address, true, 1) && PEER_ID.test(peerId);
}, 'expected a multiaddr with a peer id, such as /dns/mesh.acme.example/tcp/4701/p2p/12D3KooW…');

const authority = z.string().refine(isAuthority, 'expected a lower-case DNS-style name such as acme.example');

/** How the peer id of an Ed25519 key looks; whether it holds one is found out when it is dialled. */
const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;

/** `/ip4/<address>/tcp/<port>` or the same with ip6: what the TCP transport can listen on. */
function isListenAddress(text: string): boolean {
  return isTcpAddress(text, false, 0);
}

/** The same; with `names` also `/dns/<name>/tcp/<port>` (dns4, dns6), which can be dialled only. */
function isTcpAddress(text: string, names: boolean, lowestPort: number): boolean {
  const [empty, family = '', address = '', transport, port = '', ...rest] = text.split('/');
  const isName = /^dns[46]?$/.test(family);
  const isAddress = isName
    ? names && DNS_NAME.test(address)
    : family === 'ip4'
      ? isIPv4(address)
      : isPlainIPv6(family, address);
  return (
    empty === '' &&
    isAddress &&
    transport === 'tcp' &&
    /^\d{1,5}$/.test(port) &&
    Number(port) >= lowestPort &&
    Number(port) <= 65535 &&
    rest.length === 0
  );
}

/** A zone (`fe80::1%eth0`) is known to this machine only. */
function isPlainIPv6(family: string, address: string): boolean {
  return family === 'ip6' && isIPv6(address) && !address.includes('%');
}

const DNS_NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

const api = z.strictObject({
  host: host.default('127.0.0.1').describe('Address the local API listens on.'),
  port: count(0, 65535).default(8765).describe('TCP port of the local API; 0 takes any free one.'),
  allow_remote: z
    .boolean()
    .default(false)
    .describe('Allow `api.host` to be an address other machines can reach. The API has no TLS of its own.'),
  allowed_hosts: list(host, 0, MAX_ALLOWED_HOSTS)
    .default([])
    .describe('Further names accepted in the Host header, besides the loopback names and `api.host`.'),
  body_limit: count(MIN_BODY_LIMIT, MAX_BODY_LIMIT)
    .default(8 * 1024 * 1024)
    .describe('Largest request body in bytes; a batch of 1 000 facts has to fit.'),
  request_timeout_s: count(1, 3600).default(30).describe('Seconds a client may take to send a whole request.'),
  docs: z.boolean().default(true).describe('Serve the API documentation at `/docs`.'),
  metrics_loopback: z
    .boolean()
    .default(false)
    .describe('Answer `/metrics` to loopback clients without an API key, for a local scraper.'),
  rate_limit_read: count(1, 10_000_000).default(60_000).describe('Reading requests a minute and API key.'),
  rate_limit_write: count(1, 10_000_000).default(60_000).describe('Writing requests a minute and API key.'),
  max_connections: count(1, 65_536).default(1024).describe('Open connections to the local API.'),
});

const auth = z.strictObject({
  required: z
    .boolean()
    .default(true)
    .describe('Ask for an API key. `false` is for development and works on loopback only.'),
  key_max_age_days: count(1, 3650).default(90).describe('Days after which a new API key expires, unless it says less.'),
});

const org = z.strictObject({
  authority: authority
    .optional()
    .meta({ examples: ['acme.example'] })
    .describe('Name of your organisation in entity URIs. Written at init from the host name; do not change it later.'),
});

const store = z.strictObject({
  sync: z
    .boolean()
    .default(true)
    .describe('Wait for the disk before a write is acknowledged. `false` is faster and can lose the last writes.'),
  cache_mb: count(8, 65_536)
    .default(32)
    .describe('Memory for recently read blocks, in MiB. Table files are also mapped into memory by the system.'),
});

const mesh = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('Take part in the mesh. Without peers that you declare or invite, it only listens.'),
  listen: list(listenAddress, 1, MAX_LISTEN_ADDRESSES)
    .default(['/ip4/0.0.0.0/tcp/4701'])
    .describe('Multiaddrs the mesh listens on; a list, or one text separated by commas. Port 0 takes any free one.'),
  announce: list(announcedAddress, 0, MAX_ANNOUNCED_ADDRESSES)
    .default([])
    .describe('Addresses told to others instead of those listened on, such as the one of your router.'),
  bootstrap: list(bootstrapPeer, 0, MAX_BOOTSTRAP_PEERS)
    .default([])
    .describe('Peers asked first when others are looked for; each a multiaddr ending in `/p2p/<peer id>`.'),
  mdns: z
    .boolean()
    .default(false)
    .describe('Find and be found by daemons on the local network. Finding grants nothing.'),
  dht: z.boolean().default(true).describe('Find and be found through peers by the name of an organisation.'),
  dht_private_addresses: z
    .boolean()
    .default(false)
    .describe('Dial addresses of private networks and of this machine when a peer names them in a search.'),
  unknown_origins: z
    .enum(['quarantine', 'accept', 'reject'])
    .default('quarantine')
    .describe('What becomes of public statements of organisations that you are not paired with.'),
  trusted_resolvers: list(authority, 0, MAX_TRUSTED_RESOLVERS)
    .default([])
    .describe('Organisations whose resolutions of conflicts apply here, besides your own.'),
  peer_statements_per_second: count(100, 1_000_000)
    .default(2000)
    .describe(
      'Statements a second that are taken from one peer, and ten times as many at once; it waits for the rest.',
    ),
  invite_hours: count(1, MAX_INVITE_HOURS)
    .default(24)
    .describe('Hours an invite is good for, unless it says otherwise.'),
});

const log = z.strictObject({
  level: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('Least severity that is logged.'),
  format: z
    .enum(['auto', 'json', 'pretty'])
    .default('auto')
    .describe('JSON lines or readable text; `auto` is readable on a terminal and JSON elsewhere.'),
});

const compat = z.strictObject({
  cid: z
    .enum(['rfc8785', 'stigmem-0.9'])
    .default('rfc8785')
    .describe('Which fact CID the HTTP API puts into `cid`; `stigmem-0.9` pleases the verification of Stigmem’s SDKs.'),
});

const identity = z.strictObject({
  passphrase_file: z
    .string()
    .min(1)
    .optional()
    .meta({ examples: ['/run/credentials/stigmesh/passphrase'] })
    .describe('File with the passphrase of the private keys, readable by its owner only.'),
  passphrase_env: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of an environment variable')
    .optional()
    .meta({ examples: ['STIGMESH_PASSPHRASE'] })
    .describe('Name of the environment variable that holds that passphrase.'),
});

const facts = z.strictObject({
  default_scope: z.enum(SCOPES).default('local').describe('Scope of a fact whose writer names none.'),
  max_skew_s: count(1, 3600)
    .default(60)
    .describe('Seconds a statement may be ahead of this clock before it is refused.'),
});

const daemon = z.strictObject({
  drain_timeout_s: count(1, 300)
    .default(10)
    .describe('Seconds a stop may take; open requests get all of them but the last. A second signal ends it at once.'),
});

const limits = z.strictObject({
  batch_facts: count(1, MAX_BATCH_FACTS).default(MAX_BATCH_FACTS).describe('Facts in one batch.'),
  sse_clients: count(1, 65_536).default(256).describe('Clients following `/v1/events` at a time.'),
  gardens: count(1, 1_000_000).default(10_000).describe('Gardens on this node.'),
  api_keys: count(1, 1_000_000).default(10_000).describe('API keys on this node, revoked ones included.'),
  audit_retention_entries: count(1000, 1_000_000_000)
    .default(1_000_000)
    .describe('Audit entries kept; the oldest go first.'),
});

/** One table a relation: `[relations."memory:likes"]`. */
export const relationSchema = z.strictObject({
  cardinality: z
    .enum(['one', 'many'])
    .describe('`many`: different values of this relation stand side by side instead of contradicting each other.'),
});

/** A relation as facts spell it, so that a table never silently applies to none. */
export const relationNameSchema = z.string().refine((text) => {
  try {
    return normalizeRelation(text) === text && !text.startsWith('__') && !text.includes('"');
  } catch {
    return false;
  }
}, 'expected a relation such as memory:likes');

/** The sections with a fixed set of keys, in the order in which they are documented. */
export const sectionSchemas = { api, auth, org, store, mesh, log, compat, identity, facts, daemon, limits };

/** What a section is for, in one line. */
export const sectionTitles: { readonly [S in keyof typeof sectionSchemas]: string } = {
  api: 'The local API: HTTP, JSON-RPC and events.',
  auth: 'Who may use the local API.',
  org: 'The organisation this node speaks for.',
  store: 'The log and its indexes.',
  mesh: 'Connections to other organisations.',
  log: 'What the daemon writes about itself. Values of facts and keys are never logged.',
  compat: 'Compatibility with Stigmem.',
  identity: 'The private keys.',
  facts: 'Defaults for facts.',
  daemon: 'Life of the process.',
  limits: 'Upper bounds.',
};

/** The whole file. Strict: an unknown key is an error, because a typo would otherwise mean the default in silence. */
export const configSchema = z
  .strictObject({
    version: z.literal(CONFIG_VERSION).describe('Version of this file format.'),
    api: api.prefault({}),
    auth: auth.prefault({}),
    org: org.prefault({}),
    store: store.prefault({}),
    mesh: mesh.prefault({}),
    log: log.prefault({}),
    compat: compat.prefault({}),
    identity: identity.prefault({}),
    facts: facts.prefault({}),
    daemon: daemon.prefault({}),
    limits: limits.prefault({}),
    relations: z
      .record(relationNameSchema, relationSchema)
      .default({})
      .describe('Relations that may hold several values at a time, one table each.'),
  })
  .meta({ title: 'Stigmesh configuration' });

type Parsed = z.output<typeof configSchema>;

/** A checked configuration with every default filled in; frozen. `relations` has no prototype: index it freely. */
export type Config = Readonly<Omit<Parsed, 'org'>> & { readonly org: { readonly authority: string } };
