import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import { type AddressInfo, createServer } from 'node:net';
import os from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Stream } from '@libp2p/interface';
import { Registry } from 'prom-client';
import { peerIdFromPublicKey, rawPublicKey } from '../../src/identity/index.ts';
import { isMeshError } from '../../src/mesh/errors.ts';
import { libp2pKey, libp2pPeerId } from '../../src/mesh/libp2p/addresses.ts';
import { TOPIC } from '../../src/mesh/libp2p/gossip.ts';
import { observeNetwork } from '../../src/mesh/libp2p/metrics.ts';
import { Libp2pTransport } from '../../src/mesh/libp2p/transport.ts';
import { MAX_GOSSIP_BYTES } from '../../src/mesh/limits.ts';
import type { MeshWorld } from '../../src/mesh/world.ts';
import { settledMemory } from '../support/memory.ts';
import { dialRaw, MESHSUB, packet, rawPeer, subscription } from '../support/raw-peer.ts';
import { loopbackTransport, realWorld } from '../support/transport.ts';
import { PATIENCE_MS, until } from '../support/until.ts';

const EXIT_FIXTURE = join(import.meta.dirname, 'libp2p-exit.ts');
const MIB = 1024 * 1024;

/** A world whose timers fire so many times earlier. */
const hasty = (factor: number): MeshWorld => ({
  ...realWorld,
  now: () => Date.now() * factor,
  setTimeout: (run, ms) => setTimeout(run, ms / factor),
});

describe('libp2p transport', () => {
  const running: { stop(): unknown }[] = [];
  afterEach(async () => {
    await Promise.all(running.splice(0).map((one) => one.stop()));
  });
  const started = async (transport: Libp2pTransport): Promise<Libp2pTransport> => {
    running.push(transport);
    transport.gossip.onMessage(
      async () => 'accept',
      () => true,
    );
    await transport.start();
    return transport;
  };

  it('has the peer id of its key, as our own code spells it', async () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const peerId = peerIdFromPublicKey(rawPublicKey(privateKey));
    assert.equal(libp2pKey(privateKey).publicKey.toString(), peerId);
    assert.equal(libp2pPeerId(peerId).toString(), peerId);
    const transport = await started(loopbackTransport({}, privateKey));
    assert.equal(transport.peerId, peerId);
    const raw = await rawPeer();
    running.push(raw);
    const connection = await dialRaw(raw, transport.addresses());
    assert.equal(connection.remotePeer.toString(), peerId);
    assert.throws(() => libp2pPeerId('QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'), { code: 'invalid_address' });
  });

  it('tells somebody else’s port from one where nobody listens', async () => {
    const transport = await started(loopbackTransport({}));
    const peerId = peerIdFromPublicKey(rawPublicKey(generateKeyPairSync('ed25519').privateKey));
    // As the API answers: the port next to that of the mesh in every operator's mind.
    const answer = `HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n${' '.repeat(200)}`;
    const web = createServer((socket) => {
      socket.on('error', () => {}).once('data', () => socket.end(answer));
    });
    running.push({ stop: () => web.close() });
    await once(web.listen(0, '127.0.0.1'), 'listening');
    const { port } = web.address() as AddressInfo;
    const dial = () => transport.dial(peerId, [`/ip4/127.0.0.1/tcp/${port}`]);
    const failure = { code: 'dial_failed', message: /: what listens at its address ended no handshake of the mesh \(/ };
    await assert.rejects(dial(), failure);
    web.close();
    await once(web, 'close');
    await assert.rejects(dial(), { code: 'dial_failed', message: /ECONNREFUSED/ });
  });

  it('says what a sandbox has to allow it, before it listens on every address', async () => {
    const ask = os.networkInterfaces;
    const setAsking = (asking: typeof ask): void => {
      os.networkInterfaces = asking;
      syncBuiltinESMExports();
    };
    setAsking(() => {
      // As Node says it where netlink sockets are forbidden (seccomp, EAFNOSUPPORT).
      throw new Error('A system error occurred: uv_interface_addresses returned Unknown system error 97');
    });
    try {
      for (const any of ['/ip4/0.0.0.0/tcp/0', '/ip6/::/tcp/0']) {
        const failure = { code: 'listen_failed', message: /may not ask for the addresses/, hint: /AF_NETLINK/ };
        await assert.rejects(loopbackTransport({ listen: ['/ip4/127.0.0.1/tcp/0', any] }).start(), failure, any);
      }
      await started(loopbackTransport());
    } finally {
      setAsking(ask);
    }
  });

  it('says so when it cannot listen, and leaves nothing behind', async () => {
    const first = await started(loopbackTransport());
    const [taken] = first.addresses();
    const second = loopbackTransport({ listen: [taken!.replace(/\/p2p\/.*/, '')] });
    await assert.rejects(second.start(), (error) => isMeshError(error, 'listen_failed'));
    await second.stop();
    assert.throws(() => loopbackTransport({ listen: ['127.0.0.1:4701'] }), { code: 'invalid_address' });
    assert.throws(() => loopbackTransport({ announce: ['/ip4/127.0.0.1/udp/1'] }), { code: 'invalid_address' });
  });

  it('announces what it is told to announce instead of where it listens', async () => {
    const transport = await started(loopbackTransport({ announce: ['/dns4/node.example/tcp/4701'] }));
    assert.deepEqual(transport.addresses(), [`/dns4/node.example/tcp/4701/p2p/${transport.peerId}`]);
  });

  it('stops while it starts, and when it was never started', async () => {
    await loopbackTransport().stop();
    const transport = loopbackTransport();
    const starting = transport.start();
    await transport.stop();
    await starting;
    assert.deepEqual(transport.addresses(), []);
    await assert.rejects(transport.start(), (error) => isMeshError(error, 'transport_stopped'));
  });

  it('leaves nothing that keeps a process, with everything on', async () => {
    // That it ends by itself says that no socket is left; what its timers were set for, how soon it does.
    const { stdout } = await promisify(execFile)(process.execPath, [EXIT_FIXTURE], { timeout: PATIENCE_MS });
    const timers = JSON.parse(stdout) as number[];
    assert.ok(Math.max(0, ...timers) < 300, `timers of ${timers} ms go on`);
  });

  it('shows its figures as metrics', async () => {
    const registry = new Registry();
    const transport = await started(loopbackTransport());
    const other = await started(loopbackTransport());
    observeNetwork(registry, { figures: () => transport.figures });
    await other.dial(transport.peerId, transport.addresses());
    await until(() => transport.figures.gossipPeers === 1, 'the peer to take part');
    for (let n = 0; n < 2; n++) {
      const text = await registry.metrics();
      assert.match(text, /^stigmesh_network_connections 1$/m);
      assert.match(text, /^stigmesh_network_gossip_peers 1$/m);
      assert.match(text, /^stigmesh_network_misbehaved_total 0$/m);
    }
  });

  it('opens a gossip stream again that died on a live connection', async () => {
    const transport = new Libp2pTransport(
      { world: hasty(100) },
      {
        nodeKey: generateKeyPairSync('ed25519').privateKey,
        listen: ['/ip4/127.0.0.1/tcp/0'],
        announce: [],
        agent: 'stigmesh/0.0.0-test',
        discovery: { bootstrap: [], mdns: false, dht: null },
      },
    );
    await started(transport);
    const raw = await rawPeer();
    running.push(raw);
    const streams: Stream[] = [];
    await raw.handle(MESHSUB, (stream) => {
      streams.push(stream);
    });
    const connection = await dialRaw(raw, transport.addresses());
    await until(() => streams.length === 1, 'the first stream');
    streams[0]!.abort(new Error('as happens'));
    await until(() => streams.length === 2, 'the second stream');
    assert.equal(connection.status, 'open');
    assert.ok(transport.figures.gossipRevived >= 1);
  });

  it('fault 28: a peer that takes no gossip is cut off from it; memory stays where it was', async () => {
    const transport = await started(loopbackTransport());
    const friend = await started(loopbackTransport());
    await friend.dial(transport.peerId, transport.addresses());
    const raw = await rawPeer();
    running.push(raw);
    const ended: string[] = [];
    await raw.handle(MESHSUB, (stream) => {
      stream.pause();
      stream.addEventListener('close', () => ended.push(stream.status));
    });
    const connection = await dialRaw(raw, transport.addresses());
    const hello = await connection.newStream(MESHSUB);
    hello.send(packet(subscription(TOPIC)));
    const publish = (n: number): Promise<number> => {
      const data = Buffer.alloc(MAX_GOSSIP_BYTES);
      data.writeUInt32BE(n);
      return transport.gossip.publish(data);
    };
    let n = 0;
    await until(async () => (await publish(n++)) === 2, 'both to take part');
    const before = await settledMemory();
    for (let sent = 0; sent < 1600; sent++) {
      await publish(n++);
      if (sent % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => ended.length > 0, 'the stream to be reset');
    assert.notEqual(friend.roundTrip(transport.peerId), null);
    // The messages of the last seconds are kept, to be sent again on demand.
    await until(async () => (await settledMemory()) - before < 20 * MIB, 'memory to be free again');
  });
});
