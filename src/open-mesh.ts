import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import { readPassphrase } from './config/index.ts';
import type { HomeOptions, OpenHome } from './home.ts';
import { loadFormerOrgKeys, rotateOrgKey } from './identity/index.ts';
import { observeNetwork } from './mesh/libp2p/metrics.ts';
import { Libp2pTransport } from './mesh/libp2p/transport.ts';
import { createMeshMetrics, observeMesh } from './mesh/metrics.ts';
import { MeshService } from './mesh/service.ts';
import type { MeshWorld } from './mesh/world.ts';

export interface MeshOptions extends Pick<HomeOptions, 'paths' | 'loaded' | 'env' | 'version' | 'now'> {
  readonly log: Logger;
  readonly metrics: Registry;
}

/** Seconds of its allowance that a peer may use at once, as in src/mesh/data-limits.ts: what it wrote while it was away. */
const BURST_SECONDS = 10;

/** The mesh of a home over libp2p, wired and not started. */
export function openMesh({ node, identity }: OpenHome, options: MeshOptions): MeshService {
  const { paths, loaded, env, version, now, log, metrics } = options;
  const { org, mesh } = loaded.config;
  const world = systemWorld(now);
  const unlocked = async (): Promise<{ passphrase?: string }> => {
    const { passphrase } = await readPassphrase(loaded.config, env, paths);
    return passphrase === undefined ? {} : { passphrase };
  };
  const transport = new Libp2pTransport(
    { world },
    {
      nodeKey: identity.nodeKey,
      listen: mesh.listen,
      announce: mesh.announce,
      agent: `stigmesh/${version}`,
      discovery: {
        bootstrap: mesh.bootstrap,
        mdns: mesh.mdns,
        dht: mesh.dht
          ? { admits: (peerId) => service.peering.admits(peerId), dialsPrivate: mesh.dht_private_addresses }
          : null,
      },
    },
  );
  const service: MeshService = new MeshService(
    {
      transport,
      discovery: transport.discovery,
      node,
      keys: {
        orgKey: identity.orgKey,
        former: async () => loadFormerOrgKeys(paths, await unlocked()),
        rotate: async () => rotateOrgKey(paths, await unlocked()),
      },
      world,
      resolve: async (name, family) => (await lookup(name, { family, all: true })).map(({ address }) => address),
      metrics: createMeshMetrics(metrics),
      log,
    },
    {
      org: org.authority,
      nodeKey: identity.nodeKey,
      announce: mesh.announce,
      data: {
        gate: {
          statementsPerSecond: mesh.peer_statements_per_second,
          burstStatements: mesh.peer_statements_per_second * BURST_SECONDS,
        },
      },
    },
  );
  observeNetwork(metrics, { figures: () => transport.figures });
  observeMesh(metrics, {
    figures: () => service.data.figures(),
    activePeers: () => service.data.activePeers(),
    worstLag: () => service.data.worstLag(),
  });
  return service;
}

/** The machine as it is. What waits for a timer of the mesh does not keep the process alive. */
function systemWorld(now: () => number): MeshWorld {
  return {
    now,
    random: () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48,
    randomBytes: (count) => randomBytes(count),
    setTimeout: (run, ms) => setTimeout(run, ms).unref(),
    clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
  };
}
