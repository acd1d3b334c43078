import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { RPC } from '@libp2p/gossipsub/message';
import { identify } from '@libp2p/identify';
import type { Connection, Stream } from '@libp2p/interface';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2p } from 'libp2p';
import {
  type EncodedStatement,
  encodeStatement,
  formatHlc,
  formatInstant,
  type Hlc,
  sha256,
  signStatement,
} from '../../../src/facts/index.ts';
import type { FactBody, FactExt, FactStatement, ManifestStatement } from '../../../src/facts/statement.ts';
import { type PeerDeclaration, signDeclaration } from '../../../src/identity/declaration.ts';
import { decodeInvite } from '../../../src/identity/invite.ts';
import type { OrgManifest } from '../../../src/identity/manifest.ts';
import { createManifest } from '../../../src/identity/manifest-edit.ts';
import { hashSecret } from '../../../src/identity/proof.ts';
import {
  answerDeclare,
  type Challenge,
  DECLARE,
  type DeclareAnswer,
  declare,
  type Introduction,
} from '../../../src/mesh/declare.ts';
import { FETCH } from '../../../src/mesh/fetch.ts';
import { libp2pKey } from '../../../src/mesh/libp2p/addresses.ts';
import { Libp2pFrameStream } from '../../../src/mesh/libp2p/frames.ts';
import { TOPIC } from '../../../src/mesh/libp2p/gossip.ts';
import { encodePushAnswer, PUSH } from '../../../src/mesh/push-frames.ts';
import { SYNC } from '../../../src/mesh/sync-session.ts';
import type { FrameStream, Protocol } from '../../../src/mesh/transport.ts';
import type { WireStatement } from '../../../src/node/federation.ts';
import type { PeerTerms } from '../../../src/policy/sharing.ts';
import { realWorld } from '../transport.ts';
import { until } from '../until.ts';
import { peerIdOf, SHARED } from './victim.ts';
import { Wiretap } from './wiretap.ts';

/** A daemon to attack, in this process or in one of its own. */
export interface Target {
  readonly name: string;
  readonly peerId: string;
  readonly addrs: readonly string[];
  invite(terms?: Partial<PeerTerms>): Promise<string>;
  isActive(peerId: string): boolean | Promise<boolean>;
}

/** Gossipsub as it is spoken here. */
const MESHSUB = '/meshsub/1.2.0';
/** No bound on our side: whatever the other one sends is taken. */
const UNBOUNDED = { maxFrame: 2 ** 30, maxInboundStreams: 100_000, idleMs: 600_000 };

export interface RogueInit {
  readonly org: string;
  readonly key?: KeyObject;
  readonly orgKey?: KeyObject;
  /** In the place of one of its own making. */
  readonly manifest?: OrgManifest;
}

export type Signing = {
  readonly hlcMs?: number;
  /** A whole reading of the clock, in the place of one of its own. */
  readonly hlc?: Hlc;
  readonly org?: string;
  readonly origin?: string;
  readonly body?: Partial<FactBody>;
  readonly ext?: FactExt;
  /** Signs in the place of its own key. */
  readonly key?: KeyObject;
};

/** An organisation that somebody made up: everything it takes to speak for it, and no daemon. */
export interface Author {
  readonly org: string;
  readonly key: KeyObject;
  readonly orgKey: KeyObject;
  readonly peerId: string;
  readonly manifest: OrgManifest;
}

export function inventOrg(org: string): Author {
  const key = generateKeyPairSync('ed25519').privateKey;
  const orgKey = generateKeyPairSync('ed25519').privateKey;
  const peerId = peerIdOf(key);
  const manifest = createManifest({ authority: org, peerId }, { orgKey, now: Date.now() });
  return { org, key, orgKey, peerId, manifest };
}

/** What it does with a stream that the other side opened. */
export type Serve = (stream: Libp2pFrameStream) => Promise<void>;

/**
 * A peer that speaks our protocols by hand, over libp2p as it comes: its own keys, its own organisation, no bounds, no
 * manners. Everything it hears is on its {@link Wiretap}.
 */
export class Rogue {
  readonly org: string;
  readonly key: KeyObject;
  readonly orgKey: KeyObject;
  readonly peerId: string;
  readonly tap: Wiretap;
  readonly host: Libp2p;
  manifest: OrgManifest;
  /** By protocol; replace to misbehave. */
  readonly serves = new Map<string, Serve>();
  /** Streams that others opened, by protocol, since the start. */
  readonly opened = new Map<string, number>();
  #signed = 0;

  private constructor(init: RogueInit, key: KeyObject, tap: Wiretap, host: Libp2p) {
    this.org = init.org;
    this.key = key;
    this.orgKey = init.orgKey ?? generateKeyPairSync('ed25519').privateKey;
    this.peerId = peerIdOf(key);
    this.tap = tap;
    this.host = host;
    this.manifest =
      init.manifest ??
      createManifest({ authority: this.org, peerId: this.peerId }, { orgKey: this.orgKey, now: Date.now() });
    this.serves.set(PUSH.id, takeAll);
  }

  static async start(init: RogueInit): Promise<Rogue> {
    const { key = generateKeyPairSync('ed25519').privateKey } = init;
    const tap = new Wiretap();
    const host = await createLibp2p({
      start: false,
      privateKey: libp2pKey(key),
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()],
      connectionEncrypters: [tap.encrypter()],
      streamMuxers: [yamux({ maxInboundStreams: 100_000, maxOutboundStreams: 100_000 })],
      connectionGater: { denyDialMultiaddr: () => false },
      connectionManager: { inboundConnectionThreshold: 10_000, maxIncomingPendingConnections: 10_000 },
      services: { identify: identify(), ping: ping() },
    });
    const rogue = new Rogue(init, key, tap, host);
    const unbounded = { maxInboundStreams: 100_000, maxOutboundStreams: 100_000 };
    for (const { id } of [PUSH, FETCH, SYNC, DECLARE]) {
      await host.handle(id, (stream, connection) => rogue.#serve(id, stream, connection), unbounded);
    }
    // Heard by the wiretap; what is said there is said by hand.
    await host.handle(MESHSUB, (stream) => stream.addEventListener('message', () => {}), unbounded);
    await host.start();
    return rogue;
  }

  async stop(): Promise<void> {
    await this.host.stop();
  }

  get addrs(): string[] {
    return this.host.getMultiaddrs().map(String);
  }

  isConnected(to: Pick<Target, 'peerId'>): boolean {
    return this.host.getConnections().some((one) => one.remotePeer.toString() === to.peerId && one.status === 'open');
  }

  async dial(to: Target): Promise<Connection> {
    return this.host.dial(to.addrs.map((addr) => multiaddr(addr)));
  }

  /** A stream of bytes, for what is no frame. */
  async raw(to: Target, protocol: string): Promise<Stream> {
    return (await this.dial(to)).newStream([protocol], { maxOutboundStreams: 100_000 });
  }

  /** A stream of frames without bounds. */
  async open(to: Target, { id }: Pick<Protocol, 'id'>): Promise<FrameStream> {
    const stream = await this.raw(to, id);
    return new Libp2pFrameStream({ stream, world: realWorld }, to.peerId, { ...UNBOUNDED, id });
  }

  /** One request of a protocol, and every frame of the answer; how the stream ended. */
  async ask(to: Target, protocol: Protocol, frame: Uint8Array): Promise<{ frames: Uint8Array[]; end: string }> {
    const frames: Uint8Array[] = [];
    try {
      const stream = await this.open(to, protocol);
      await stream.send(frame);
      await stream.close();
      for (;;) {
        const answer = await stream.receive();
        if (answer === undefined) return { frames, end: 'closed' };
        frames.push(answer);
      }
    } catch (error) {
      return { frames, end: (error as { code?: string }).code ?? (error as Error).name };
    }
  }

  /** Pushes one block after the other; resolves when each was answered. */
  async push(to: Target, blocks: readonly Uint8Array[]): Promise<void> {
    const stream = await this.open(to, PUSH);
    for (const block of blocks) {
      await stream.send(block);
      if ((await stream.receive()) === undefined) throw new Error('the push stream ended');
    }
    await stream.close();
  }

  /** Pairs properly: an invite, the declarations, and whatever `changes` makes of ours. */
  async join(to: Target, ours: Partial<PeerTerms> = {}, theirs: Partial<PeerTerms> = {}): Promise<void> {
    const answer = await this.declare(to, { invite: await to.invite(ours), terms: { ...SHARED, ...theirs } });
    if (answer.status !== 'active') throw new Error(`${this.org} is ${JSON.stringify(answer)}`);
    let isActive = false;
    await until(async () => {
      isActive = await to.isActive(this.peerId);
      return isActive || !this.isConnected(to);
    }, `${this.org} is active at ${to.name}`);
    if (!isActive) throw new Error(`${this.org} was cut off by ${to.name} before it was active`);
  }

  /** Runs one declare exchange. `introduce` makes what is said, out of what is said by default. */
  async declare(
    to: Target,
    init: {
      readonly invite?: string;
      readonly terms?: PeerTerms;
      readonly introduce?: (ours: Introduction, them: Challenge) => Introduction | null;
    } = {},
  ): Promise<DeclareAnswer> {
    const { terms = SHARED, introduce = (ours: Introduction) => ours } = init;
    const invite = init.invite === undefined ? undefined : decodeInvite(init.invite, 0);
    const stream = await this.open(to, DECLARE);
    try {
      const self = { peerId: this.peerId, now: Date.now, randomBytes };
      const answer = await declare(stream, self, (them) =>
        introduce(
          {
            declaration: this.declaration(to.peerId, them.nonce, terms),
            manifest: this.manifest,
            ...(invite && { invite: { id: invite.id, secretHash: hashSecret(invite.secret) } }),
          },
          them,
        ),
      );
      await stream.close();
      return answer;
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  /** Says yes, on these terms, to whatever the other side declares from now on. */
  agrees(terms: PeerTerms): void {
    const self = { peerId: this.peerId, now: Date.now, randomBytes, manifest: () => this.manifest };
    this.serves.set(DECLARE.id, async (stream) => {
      await answerDeclare(stream, {
        ...self,
        decide: async ({ nonce }) => {
          return { status: 'active', declaration: this.declaration(stream.peerId, nonce, terms) };
        },
      });
    });
  }

  declaration(
    audience: string,
    nonce: string,
    terms: PeerTerms = SHARED,
    changes: { now?: number } = {},
  ): PeerDeclaration {
    const { org, key, addrs } = this;
    return signDeclaration({ org, addrs, audience, terms, nonce, now: Date.now(), expiresAt: null, ...changes }, key);
  }

  /** Subscribes and stays; returns what says things on the topic. */
  async gossip(to: Target): Promise<(...messages: readonly Uint8Array[]) => void> {
    const stream = await this.raw(to, MESHSUB);
    // Whoever does not admit us resets the stream; we go on talking.
    const say = (rpc: RPC): void => {
      if (stream.writeStatus === 'writable') stream.send(delimited(RPC.encode(rpc)));
    };
    say({ subscriptions: [{ subscribe: true, topic: TOPIC }], messages: [] });
    return (...messages) =>
      say({ subscriptions: [], messages: messages.map((data) => ({ data, topic: TOPIC })) as RPC['messages'] });
  }

  /** Any packet of gossip. */
  async rpc(to: Target, ...rpcs: readonly RPC[]): Promise<Stream> {
    const stream = await this.raw(to, MESHSUB);
    for (const rpc of rpcs) if (stream.writeStatus === 'writable') stream.send(delimited(RPC.encode(rpc)));
    return stream;
  }

  /** What an invented organisation says. */
  signAs({ org, peerId: origin, key }: Author, v: string, more: Signing = {}): WireStatement {
    return this.sign(v, { org, origin, key, ...more });
  }

  /** A statement, with a clock reading of its own. */
  sign(
    v: string,
    { hlcMs = Date.now(), hlc, org = this.org, origin, body = {}, ext = {}, key }: Signing = {},
  ): WireStatement {
    const scope = body.scope ?? 'public';
    const n = this.#signed++;
    const statement: FactStatement = {
      ...{ v: 1, kind: 'fact', origin: origin ?? this.peerId, org, audience: scope },
      hlc: hlc ?? formatHlc(Math.floor(hlcMs) - 10_000 + Math.floor(n / 1000), n % 1000),
      timestamp: formatInstant(Math.floor(hlcMs)),
      body: {
        confidence: 1,
        entity: `stigmem://${org}/note/${v.replaceAll(' ', '-')}`,
        relation: 'memory:role',
        source: `stigmem://${org}/agent/rogue`,
        value: { type: 'string', v },
        ...body,
        scope,
      },
      ext,
    };
    const { bytes, sig } = signStatement(encodeStatement(statement), key ?? this.key);
    return { bytes, sig };
  }

  /** Signs whatever bytes. */
  signBytes(bytes: Uint8Array): WireStatement {
    const digest = sha256(bytes);
    const { sig } = signStatement({ bytes, digest } as EncodedStatement, this.key);
    return { bytes, sig };
  }

  /** A manifest as a statement, such as gossip carries; of another node where one is given. */
  signManifest(manifest: OrgManifest = this.manifest, node: Pick<Author, 'peerId' | 'key'> = this): WireStatement {
    const now = Date.now();
    const n = this.#signed++;
    const statement: ManifestStatement = {
      ...{ v: 1, kind: 'manifest', origin: node.peerId, org: manifest.authority, audience: 'public' },
      hlc: formatHlc(now - 10_000 + Math.floor(n / 1000), n % 1000),
      timestamp: formatInstant(now),
      body: manifest as unknown as ManifestStatement['body'],
      ext: {},
    };
    const { bytes, sig } = signStatement(encodeStatement(statement), node.key);
    return { bytes, sig };
  }

  #serve(id: string, stream: Stream, connection: Connection): void {
    this.opened.set(id, (this.opened.get(id) ?? 0) + 1);
    const serve = this.serves.get(id);
    if (!serve) {
      stream.abort(new Error('not served'));
      return;
    }
    const peerId = connection.remotePeer.toString();
    const frames = new Libp2pFrameStream({ stream, world: realWorld }, peerId, { ...UNBOUNDED, id });
    serve(frames).catch((error: Error) => frames.abort(error));
  }
}

/** Takes every block, says that heads are equal. */
async function takeAll(stream: Libp2pFrameStream): Promise<void> {
  for (let frame = await stream.receive(); frame !== undefined; frame = await stream.receive()) {
    if (frame[0] === 0x01) await stream.send(encodePushAnswer({ type: 'taken', blocks: 1 }));
  }
}

/** With its length as an unsigned LEB128 before it. */
function delimited(bytes: Uint8Array): Uint8Array {
  const length: number[] = [];
  for (let rest = bytes.length; ; rest >>>= 7) {
    length.push(rest < 0x80 ? rest : (rest & 0x7f) | 0x80);
    if (rest < 0x80) return Buffer.concat([Buffer.from(length), bytes]);
  }
}
