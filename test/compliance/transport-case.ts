import assert from 'node:assert/strict';
import { isMeshError, type MeshErrorCode } from '../../src/mesh/errors.ts';
import type { Connection, FrameStream, GossipVerdict, Protocol, Transport } from '../../src/mesh/transport.ts';
import type { MeshWorld } from '../../src/mesh/world.ts';

/** A network for the tests of one case. */
export interface TransportFixture {
  /** Whose timers the nodes run on: virtual in a simulation. */
  readonly world: MeshWorld;
  /** A node that is not started. */
  create(): Promise<Transport>;
  /** Addresses where nobody is. */
  readonly deadAddresses: readonly string[];
  /** Runs a case to its end. */
  run(body: () => Promise<void>): Promise<void>;
  dispose(): Promise<void>;
}

/** Deadline of everything a case waits for, ms: only what never comes takes so long, on however slow a machine. */
export const PATIENCE_MS = 60_000;
const POLL_MS = 5;

/** The protocol that most cases use. */
export const PROTOCOL: Protocol = {
  id: '/stigmesh/test/1.0.0',
  maxFrame: 64 * 1024,
  maxInboundStreams: 2,
  idleMs: 10_000,
};
export const HASTY: Protocol = { ...PROTOCOL, id: '/stigmesh/hasty/1.0.0', idleMs: 300 };

/** A node of a case with what it saw. */
export interface Node {
  readonly transport: Transport;
  readonly peerId: string;
  readonly connected: Connection[];
  readonly disconnected: string[];
  readonly heard: { readonly data: string; readonly from: string }[];
  readonly denied: Set<string>;
  /** Peers that are not admitted, to protocols and to gossip. */
  readonly unwelcome: Set<string>;
  verdict: GossipVerdict;
}

export class TransportCase {
  readonly nodes: Node[] = [];
  readonly #fixture: TransportFixture;

  constructor(fixture: TransportFixture) {
    this.#fixture = fixture;
  }

  get deadAddresses(): readonly string[] {
    return this.#fixture.deadAddresses;
  }

  /** Nodes that run. */
  async start(count: number): Promise<Node[]> {
    return Promise.all(Array.from({ length: count }, () => this.node()));
  }

  async node(options: { started?: boolean } = {}): Promise<Node> {
    const transport = await this.#fixture.create();
    const node: Node = {
      transport,
      peerId: transport.peerId,
      connected: [],
      disconnected: [],
      heard: [],
      denied: new Set(),
      unwelcome: new Set(),
      verdict: 'accept',
    };
    const admits = (peerId: string): boolean => !node.unwelcome.has(peerId);
    transport.on({
      connected: (connection) => node.connected.push(connection),
      disconnected: (peerId) => node.disconnected.push(peerId),
    });
    transport.deny((peerId) => node.denied.has(peerId));
    transport.gossip.onMessage(async (data, from) => {
      node.heard.push({ data: Buffer.from(data).toString(), from });
      return node.verdict;
    }, admits);
    this.nodes.push(node);
    if (options.started !== false) await transport.start();
    return node;
  }

  /** Serves a protocol for whoever is not unwelcome. */
  serve(node: Node, handler: (stream: FrameStream) => Promise<void>, protocol = PROTOCOL): Promise<void> {
    return node.transport.handle(protocol, handler, (peerId) => !node.unwelcome.has(peerId));
  }

  async connect(from: Node, to: Node): Promise<Connection> {
    const connection = await from.transport.dial(to.peerId, to.transport.addresses());
    await this.until(() => has(to, from) && has(from, to), 'both sides to be connected');
    return connection;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#fixture.world.setTimeout(resolve, ms));
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const deadline = this.#fixture.world.now() + PATIENCE_MS;
    while (!condition()) {
      if (this.#fixture.world.now() > deadline) throw new Error(`waited in vain for ${what}`);
      await this.sleep(POLL_MS);
    }
  }

  /** Fails when a promise is not settled in time. */
  async within<T>(promise: Promise<T>, what: string, ms = PATIENCE_MS): Promise<T> {
    let timer: unknown;
    const late = new Promise<never>((_, reject) => {
      timer = this.#fixture.world.setTimeout(() => reject(new Error(`waited in vain for ${what}`)), ms);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      this.#fixture.world.clearTimeout(timer);
    }
  }

  fails(promise: Promise<unknown>, ...codes: MeshErrorCode[]): Promise<void> {
    return assert.rejects(this.within(promise, codes.join(' or ')), (error) => {
      assert.ok(
        codes.some((code) => isMeshError(error, code)),
        `${(error as Error).stack} is none of ${codes}`,
      );
      return true;
    });
  }

  /** Publishes until somebody takes it: topics are joined a little after connections are up. */
  async gossip(from: Node, text: string, wanted = 1): Promise<void> {
    let attempt = 0;
    let taken = 0;
    const deadline = this.#fixture.world.now() + PATIENCE_MS;
    while (taken < wanted) {
      assert.ok(this.#fixture.world.now() < deadline, 'nobody takes part in the gossip');
      // The same message is not sent twice.
      taken = await from.transport.gossip.publish(Buffer.from(attempt === 0 ? text : `${text}#${attempt}`));
      attempt++;
      if (taken < wanted) await this.sleep(20);
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map(({ transport }) => transport.stop()));
  }
}

export function has(node: Node, peer: Node): boolean {
  return node.transport.connections().some(({ peerId }) => peerId === peer.peerId);
}

/** Whether a node heard a text, whatever attempt of {@link TransportCase.gossip} brought it. */
export function heard(node: Node, text: string): boolean {
  return node.heard.some(({ data }) => data.split('#')[0] === text);
}

export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { promise, resolve };
}

/** Declares one case. */
export type Test = (title: string, body: (net: TransportCase) => Promise<void>) => void;
