import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { type ApiInit, systemTimers } from '../../src/api/components.ts';
import { type Api, createApi } from '../../src/api/http/server.ts';
import { fingerprint, peerIdFromPublicKey, publicKeyFromPeerId, rawPublicKey } from '../../src/identity/index.ts';
import { StigmeshNode } from '../../src/node/node.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { type Answer, type Sent, send } from '../unit/api/http-client.ts';

export const API_INIT: ApiInit = {
  host: '127.0.0.1',
  port: 0,
  allowRemote: false,
  allowedHosts: [],
  bodyLimit: 1024 * 1024,
  requestTimeoutMs: 30_000,
  docs: true,
  docsDir: undefined,
  metricsLoopback: false,
  rateLimitRead: 1_000_000,
  rateLimitWrite: 1_000_000,
  maxConnections: 1024,
  authRequired: true,
  compatCid: 'rfc8785',
  defaultScope: 'local',
  sseClients: 16,
  batchFacts: 1000,
  inviteLifeS: 86_400,
  drainTimeoutMs: 5_000,
  nodeVersion: '24.0.0',
  version: '0.0.0-test',
};

export interface NodeApi {
  readonly api: Api;
  readonly node: StigmeshNode;
  /** A key with every permission. */
  readonly key: string;
  readonly send: (sent: Sent, key?: string | null) => Promise<Answer>;
  readonly stop: () => Promise<void>;
}

/** The whole API over a real node in memory. */
export async function startNodeApi(init: Partial<ApiInit> = {}): Promise<NodeApi> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = rawPublicKey(publicKey);
  const peerId = peerIdFromPublicKey(raw);
  const node = await StigmeshNode.open(
    { store: new MemoryStore(), now: Date.now, randomUUID, randomBytes, setInterval, clearInterval },
    {
      nodeKey: privateKey,
      peerId,
      org: 'testnode',
      publicKeyOf: publicKeyFromPeerId,
      schema: 1,
      durable: false,
      maxSkewMs: 60_000,
      unknownOrigins: 'quarantine',
      trustedResolvers: [],
      manyRelations: new Set(),
      maxBatch: 1000,
      maxGardens: 100,
      maxApiKeys: 100,
      maxAuditEntries: 10_000,
      keyMaxAgeDays: 90,
    },
  );
  const { secret } = await node.keys.create(SYSTEM, {
    entity_uri: 'agent:admin',
    permissions: ['read', 'write', 'instruction:write', 'federate', 'admin', 'audit.read'],
  });
  const key = secret!;
  const api = createApi(
    {
      facts: node.facts,
      conflicts: node.conflicts,
      gardens: node.gardens,
      keys: node.keys,
      audit: node.audit,
      lint: node.lint,
      feed: node.feed,
      federation: null,
      meshEvents: null,
      status: () => node.status(),
      readiness: () => node.readiness(),
      exportStatements: (who) => node.transfer.exportStatements(who),
      importStatements: (who, statements) => node.transfer.importStatements(who, statements),
      identity: { peerId, org: 'testnode', fingerprint: fingerprint(raw) },
      log: pino({ level: 'silent' }),
      metrics: new Registry(),
      now: Date.now,
      timers: systemTimers,
    },
    { ...API_INIT, ...init },
  );
  await api.start();
  return {
    api,
    node,
    key,
    send: (sent, bearer = key) =>
      send(api.port, {
        ...sent,
        headers: { ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }), ...sent.headers },
      }),
    async stop() {
      await api.stop();
      await node.stop();
    },
  };
}
