import type { KeyObject } from 'node:crypto';
import type { GossipSubComponents } from '@libp2p/gossipsub';
import { type Identify, type IdentifyComponents, identify } from '@libp2p/identify';
import type { Libp2p } from '@libp2p/interface';
import type { KadDHTComponents } from '@libp2p/kad-dht';
import { noise } from '@libp2p/noise';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { createLibp2p, type Libp2pOptions } from 'libp2p';
import {
  DIAL_TIMEOUT_MS,
  DISCONNECT_MS,
  HANDSHAKE_TIMEOUT_MS,
  INBOUND_PER_SECOND,
  MAX_CONNECTIONS,
  MAX_DIAL_ADDRESSES,
  MAX_HALF_OPEN,
  MAX_IDENTIFY_ADDRESSES,
  MAX_IDENTIFY_PROTOCOLS,
  MAX_IDENTIFY_RECORD_BYTES,
  MAX_IDENTIFY_TEXT,
  PING_INTERVAL_MS,
  PING_TIMEOUT_MS,
} from '../limits.ts';
import { libp2pKey } from './addresses.ts';
import { BoundedDatastore } from './datastore.ts';
import type { Libp2pDiscovery } from './discovery.ts';
import type { Gater } from './gater.ts';
import type { Libp2pGossip } from './gossip.ts';
import { boundedYamux } from './muxer.ts';

export interface HostInit {
  /** Ed25519, private. */
  readonly nodeKey: KeyObject;
  /** Multiaddrs; port 0 takes any free one. */
  readonly listen: readonly string[];
  /** Told to others instead of what is listened on; empty: what is listened on. */
  readonly announce: readonly string[];
  /** What this node says it is, such as `stigmesh/1.0.0`. */
  readonly agent: string;
  /** Connections one host may open in a second; usually `INBOUND_PER_SECOND`. */
  readonly inboundPerSecond?: number | undefined;
  /** Time for a handshake, ms; usually `HANDSHAKE_TIMEOUT_MS`. */
  readonly handshakeMs?: number | undefined;
}

export interface HostParts {
  readonly gater: Gater;
  readonly gossip: Libp2pGossip;
  readonly discovery: Libp2pDiscovery;
}

type Services = NonNullable<Libp2pOptions['services']>;

/** libp2p as this mesh runs it: TCP, Noise, yamux, and of its services only what is needed. Not started. */
export async function createHost(parts: HostParts, init: HostInit): Promise<Libp2p> {
  const { gater, gossip, discovery } = parts;
  const privateKey = libp2pKey(init.nodeKey);
  const ownRecord = `/peers/${privateKey.publicKey.toCID().toString()}`;
  const host = await createLibp2p({
    start: false,
    privateKey,
    nodeInfo: { name: 'stigmesh', version: init.agent.split('/')[1] ?? '0', userAgent: init.agent },
    addresses: { listen: [...init.listen], announce: [...init.announce] },
    datastore: new BoundedDatastore((key) => key === ownRecord),
    transports: [tcp({ maxConnections: MAX_CONNECTIONS + MAX_HALF_OPEN })],
    connectionEncrypters: [noise()],
    streamMuxers: [boundedYamux()],
    connectionGater: gater,
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      maxIncomingPendingConnections: MAX_HALF_OPEN,
      inboundConnectionThreshold: init.inboundPerSecond ?? INBOUND_PER_SECOND,
      inboundUpgradeTimeout: init.handshakeMs ?? HANDSHAKE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: HANDSHAKE_TIMEOUT_MS,
      // Gossip opens its streams one after the other: a peer that does not answer holds up the rest.
      outboundStreamProtocolNegotiationTimeout: HANDSHAKE_TIMEOUT_MS,
      connectionCloseTimeout: DISCONNECT_MS,
      dialTimeout: DIAL_TIMEOUT_MS,
      maxPeerAddrsToDial: MAX_DIAL_ADDRESSES,
      // Names are resolved by whoever asks for a dial; records that name further addresses are not followed.
      resolvers: {},
    },
    connectionMonitor: { pingInterval: PING_INTERVAL_MS, pingTimeout: { minTimeout: PING_TIMEOUT_MS } },
    peerDiscovery: discovery.modules(),
    services: {
      identify: boundedIdentify(),
      ping: ping(),
      gossip: (components: GossipSubComponents) => gossip.service(components),
      ...(discovery.gate && { dht: (components: KadDHTComponents) => discovery.service(components) }),
    } as unknown as Services,
  });
  gossip.follow(host);
  discovery.follow(host);
  return host;
}

/** Stops a host and what it leaves behind: it would write down its addresses a second after it has none any more. */
export async function stopHost(host: Libp2p): Promise<void> {
  await host.stop();
  const { components } = host as Libp2p & {
    components?: { addressManager?: { _updatePeerStoreAddresses?: Debounced } };
  };
  components?.addressManager?._updatePeerStoreAddresses?.stop?.();
}

interface Debounced {
  stop?(): void;
}

/** What is used of the answer of identify (libp2p spec, identify). */
export interface Identified {
  agentVersion?: string;
  protocolVersion?: string;
  listenAddrs: Uint8Array[];
  protocols: string[];
  signedPeerRecord?: Uint8Array;
}

/**
 * Identify with bounds. One answer may be 80 KiB of addresses, and sorting thousands of them blocks for a fifth of a
 * second: anybody who completes a handshake could do that. So an answer is cut before it is looked at.
 */
function boundedIdentify(): (components: IdentifyComponents) => Identify {
  const create = identify({ maxInboundStreams: 2, maxOutboundStreams: 2 });
  return (components) => {
    const service = create(components) as Identify & { _identify?(...args: unknown[]): Promise<Identified> };
    const ask = service._identify?.bind(service);
    if (!ask) throw new Error('this release of @libp2p/identify has no answer to put a bound on');
    service._identify = async (...args) => cutIdentified(await ask(...args));
    return service;
  };
}

export function cutIdentified(answer: Identified): Identified {
  const { signedPeerRecord, ...rest } = answer;
  return {
    ...rest,
    ...(answer.agentVersion !== undefined && { agentVersion: answer.agentVersion.slice(0, MAX_IDENTIFY_TEXT) }),
    ...(answer.protocolVersion !== undefined && {
      protocolVersion: answer.protocolVersion.slice(0, MAX_IDENTIFY_TEXT),
    }),
    listenAddrs: answer.listenAddrs
      .filter(({ length }) => length <= MAX_IDENTIFY_TEXT)
      .slice(0, MAX_IDENTIFY_ADDRESSES),
    protocols: answer.protocols.filter(({ length }) => length <= MAX_IDENTIFY_TEXT).slice(0, MAX_IDENTIFY_PROTOCOLS),
    ...(signedPeerRecord && signedPeerRecord.length <= MAX_IDENTIFY_RECORD_BYTES && { signedPeerRecord }),
  };
}
