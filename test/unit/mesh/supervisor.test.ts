import assert from 'node:assert/strict';
import type { ResolveName } from '../../../src/mesh/addresses.ts';
import { MAX_PARALLEL_DIALS, RECONNECT_FIRST_MS, RECONNECT_LONGEST_MS } from '../../../src/mesh/control-limits.ts';
import { MeshError } from '../../../src/mesh/errors.ts';
import { Supervisor } from '../../../src/mesh/supervisor.ts';
import type { Connection } from '../../../src/mesh/transport.ts';
import type { PeeringListener } from '../../../src/mesh/types.ts';
import type { PeerRecord } from '../../../src/node/federation.ts';
import type { PeerListener, PeerService } from '../../../src/node/mesh-services.ts';
import { Simulation } from '../../sim/world.ts';
import { numberedPeer } from '../../support/org.ts';

const SEED = Number(process.env.STIGMESH_SEED ?? 1);
const NOTHING = { gives: [], takes: [], namespaces: null };

function makeRecord(n: number, changes: Partial<PeerRecord> = {}): PeerRecord {
  return {
    peerId: numberedPeer(n),
    org: 'bolt.example',
    orgKey: null,
    addrs: [`/ip4/192.0.2.${n % 250}/tcp/4701`],
    state: 'active',
    via: 'approval',
    ours: NOTHING,
    expiresAt: null,
    approved: true,
    suspended: false,
    revokedBy: null,
    theirs: null,
    createdAt: 0,
    changedAt: 0,
    lastSeenAt: null,
    ...changes,
  };
}

interface Dial {
  readonly peerId: string;
  readonly addrs: readonly string[];
  readonly at: number;
}

/** A supervisor over peers on paper, in virtual time. */
class Bench {
  readonly simulation = new Simulation({ seed: SEED });
  readonly world = this.simulation.world('bench');
  readonly dials: Dial[] = [];
  readonly supervisor: Supervisor;
  readonly active = new Set<string>();
  /** How a dial ends: by default it fails after a while. */
  outcome: (peerId: string) => 'fails' | 'hangs' | 'connects' = () => 'fails';
  underWay = 0;
  most = 0;
  readonly #records = new Map<string, PeerRecord>();
  readonly #peers = new Set<PeerListener>();
  readonly #peering = new Set<PeeringListener>();

  constructor(init: { records?: readonly PeerRecord[]; resolve?: ResolveName; siblings?: readonly string[] } = {}) {
    const { records = [], resolve = async () => [], siblings = [] } = init;
    for (const record of records) this.#records.set(record.peerId, record);
    const { world } = this;
    const peers = {
      list: () => [...this.#records.values()],
      get: (peerId: string) => this.#records.get(peerId),
      on: (listener: PeerListener) => {
        this.#peers.add(listener);
        return () => this.#peers.delete(listener);
      },
    } as unknown as PeerService;
    const none = (): undefined => undefined;
    this.supervisor = new Supervisor({
      transport: { dial: (peerId, addrs, signal) => this.#dial(peerId, addrs, signal), connections: () => [] },
      peers,
      peering: {
        admits: (peerId) => this.active.has(peerId),
        pairing: none,
        active: () => [],
        isSettling: () => false,
        ban: none,
        on: (listener) => {
          this.#peering.add(listener);
          return () => this.#peering.delete(listener);
        },
      },
      world,
      resolve,
      log: { debug: none, info: none, warn: none },
      isSibling: (peerId) => siblings.includes(peerId),
    });
  }

  change(next: PeerRecord): void {
    const before = this.#records.get(next.peerId);
    this.#records.set(next.peerId, next);
    for (const listener of this.#peers) listener.changed({ peer: next, before });
  }

  becomes(what: 'active' | 'inactive', peerId: string): void {
    if (what === 'active') {
      this.active.add(peerId);
      const pairing = { org: 'a', peerOrg: 'b', ours: NOTHING, theirs: NOTHING };
      for (const listener of this.#peering) listener.active?.({ peerId, pairing, since: 0 });
      return;
    }
    this.active.delete(peerId);
    for (const listener of this.#peering) listener.inactive?.(peerId, 'disconnected');
  }

  /** Pauses between the dials of one peer, ms. */
  pauses(peerId = numberedPeer(1)): number[] {
    const times = this.dials.filter((dial) => dial.peerId === peerId).map(({ at }) => at);
    return times.slice(1).map((at, n) => at - times[n]!);
  }

  async #dial(peerId: string, addrs: readonly string[], signal?: AbortSignal): Promise<Connection> {
    this.dials.push({ peerId, addrs, at: this.simulation.now });
    this.underWay += 1;
    this.most = Math.max(this.most, this.underWay);
    try {
      const outcome = this.outcome(peerId);
      if (outcome === 'connects') return { peerId, outbound: true, remoteAddr: addrs[0]! };
      await new Promise<void>((_, reject) => {
        const fail = (): void => reject(new MeshError('dial_failed', 'nobody there', ''));
        signal?.addEventListener('abort', fail, { once: true });
        if (outcome === 'fails') this.world.setTimeout(fail, 100);
      });
      throw new Error('not reached');
    } finally {
      this.underWay -= 1;
    }
  }
}

describe(`mesh: supervisor (seed ${SEED})`, () => {
  let bench: Bench;

  afterEach(async () => {
    await bench.simulation.run(bench.supervisor.stop());
    bench.simulation.close();
  });

  it('tries again for ever, with pauses that double and differ by chance, from 3 s to 10 min', async () => {
    bench = new Bench({ records: [makeRecord(1)] });
    bench.supervisor.start();
    await bench.simulation.runFor(6 * 3_600_000);
    const pauses = bench.pauses().map((ms) => ms - 100);
    assert.ok(pauses.length > 36, `${pauses.length} attempts in six hours`);
    for (const [n, pause] of pauses.entries()) {
      const base = Math.min(RECONNECT_LONGEST_MS / 2, RECONNECT_FIRST_MS * 2 ** n);
      assert.ok(pause >= base - 1 && pause <= 2 * base + 1, `pause ${n}: ${pause} for ${base}`);
    }
    assert.ok(Math.min(...pauses) >= RECONNECT_FIRST_MS - 1 && Math.max(...pauses) <= RECONNECT_LONGEST_MS + 1);
    assert.ok(new Set(pauses.slice(-10).map((ms) => Math.round(ms))).size > 5, 'by chance');
  });

  it('begins anew once a peer was active, and not because a connection came about', async () => {
    bench = new Bench({ records: [makeRecord(1)] });
    bench.outcome = () => 'connects';
    bench.supervisor.start();
    await bench.simulation.runFor(3_600_000);
    const connected = bench.pauses();
    assert.ok(connected.at(-1)! > 200_000, 'a connection that leads to nothing is no success');
    const peerId = numberedPeer(1);
    bench.becomes('active', peerId);
    const before = bench.dials.length;
    await bench.simulation.runFor(3_600_000);
    assert.equal(bench.dials.length, before, 'nothing is dialled that is active');
    assert.equal(bench.supervisor.targets, 0);
    const lostAt = bench.simulation.now;
    bench.becomes('inactive', peerId);
    await bench.simulation.runFor(2 * RECONNECT_FIRST_MS + 1);
    const first = bench.dials.at(-1)!.at - lostAt;
    assert.ok(first >= RECONNECT_FIRST_MS && first <= 2 * RECONNECT_FIRST_MS, `${first}`);
  });

  it(`dials ${MAX_PARALLEL_DIALS} at a time, everybody in turn`, async () => {
    const records = Array.from({ length: 100 }, (_, n) => makeRecord(n + 1));
    bench = new Bench({ records });
    bench.supervisor.start();
    await bench.simulation.runFor(1000);
    assert.equal(bench.most, MAX_PARALLEL_DIALS);
    assert.equal(new Set(bench.dials.map(({ peerId }) => peerId)).size, 100);
  });

  it('leaves alone whoever is suspended, removed, expired by us, or not approved', async () => {
    const records = [
      makeRecord(1, { state: 'suspended', suspended: true }),
      makeRecord(2, { state: 'revoked', revokedBy: 'operator', approved: false }),
      makeRecord(3, { state: 'expired', expiresAt: 1 }),
      makeRecord(4, { state: 'pending', approved: false, via: 'unknown' }),
      makeRecord(5, { state: 'expired' }),
      makeRecord(6, { state: 'pending' }),
    ];
    bench = new Bench({ records });
    bench.supervisor.start();
    await bench.simulation.runFor(60_000);
    const dialled = new Set(bench.dials.map(({ peerId }) => peerId));
    assert.deepEqual(
      dialled,
      new Set([numberedPeer(5), numberedPeer(6)]),
      'whose own declaration ran out is asked again',
    );
    bench.change(makeRecord(1));
    bench.change(makeRecord(5, { state: 'suspended', suspended: true }));
    const from = bench.dials.length;
    await bench.simulation.runFor(300_000);
    const later = new Set(bench.dials.slice(from).map(({ peerId }) => peerId));
    assert.deepEqual(later, new Set([numberedPeer(1), numberedPeer(6)]));
  });

  it('tries at once when a peer is declared, or its addresses change, and no more often than every 3 s', async () => {
    bench = new Bench();
    bench.supervisor.start();
    bench.change(makeRecord(1));
    await bench.simulation.runFor(1);
    assert.equal(bench.dials.length, 1);
    await bench.simulation.runFor(3_600_000);
    const before = bench.dials.length;
    bench.change(makeRecord(1, { addrs: ['/ip4/192.0.2.77/tcp/1'] }));
    await bench.simulation.runFor(1);
    assert.equal(bench.dials.length, before + 1);
    assert.deepEqual(bench.dials.at(-1)?.addrs, ['/ip4/192.0.2.77/tcp/1']);
    for (let n = 0; n < 100; n++) {
      bench.change(makeRecord(1, { addrs: [`/ip4/192.0.2.${n}/tcp/1`] }));
      await bench.simulation.runFor(100);
    }
    assert.ok(bench.dials.length - before <= 5, `${bench.dials.length - before} dials in 10 s`);
  });

  it('uses what discovery finds, of declared peers only, as far inside as it may lead', async () => {
    const peerId = numberedPeer(1);
    bench = new Bench({ records: [makeRecord(1)], siblings: [numberedPeer(9)] });
    bench.supervisor.start();
    await bench.simulation.runFor(3_600_000);
    const before = bench.dials.length;
    bench.supervisor.found({
      peerId,
      addrs: ['/ip4/8.8.4.4/tcp/7', '/ip4/10.0.0.1/tcp/7', '/ip4/127.0.0.1/tcp/7'],
      via: 'dht',
    });
    await bench.simulation.runFor(1);
    assert.equal(bench.dials.length, before + 1, 'at once');
    assert.ok(bench.dials.at(-1)?.addrs.includes('/ip4/8.8.4.4/tcp/7'));
    assert.ok(!bench.dials.at(-1)?.addrs.some((addr) => addr.includes('127.0.0.1')));
    await bench.simulation.runFor(3_600_000);
    bench.supervisor.found({
      peerId,
      addrs: [`/ip4/10.0.0.2/tcp/7/p2p/${peerId}`, '/ip4/127.0.0.1/tcp/8'],
      via: 'mdns',
    });
    await bench.simulation.runFor(1);
    assert.ok(bench.dials.at(-1)?.addrs.includes('/ip4/10.0.0.2/tcp/7'));
    assert.ok(!bench.dials.at(-1)?.addrs.some((addr) => addr.includes('127.0.0.1')));
    bench.supervisor.found({ peerId: numberedPeer(5), addrs: ['/ip4/8.8.4.4/tcp/7'], via: 'dht' });
    bench.supervisor.found({ peerId: numberedPeer(9), addrs: ['/ip4/8.8.4.4/tcp/9'], via: 'dht' });
    await bench.simulation.runFor(60_000);
    assert.ok(!bench.dials.some((dial) => dial.peerId === numberedPeer(5)), 'finding grants nothing');
    assert.ok(
      bench.dials.some((dial) => dial.peerId === numberedPeer(9)),
      'a daemon of our own organisation',
    );
    const floods = bench.dials.length;
    for (let n = 0; n < 1000; n++)
      bench.supervisor.found({ peerId, addrs: [`/ip4/8.8.${n % 250}.4/tcp/7`], via: 'dht' });
    await bench.simulation.runFor(1);
    assert.ok(bench.dials.length - floods <= 1);
    assert.ok(bench.dials.at(-1)!.addrs.length <= 17, 'the newest few');
  });

  it('resolves names when it dials, and goes on where one leads inside', async () => {
    let answer = ['8.8.8.8'];
    bench = new Bench({
      records: [makeRecord(1, { addrs: ['/dns/mesh.bolt.example/tcp/4701'] })],
      resolve: async () => answer,
    });
    bench.supervisor.start();
    await bench.simulation.runFor(100);
    assert.deepEqual(bench.dials.at(-1)?.addrs, ['/ip4/8.8.8.8/tcp/4701']);
    const before = bench.dials.length;
    answer = ['127.0.0.1', '10.0.0.1'];
    await bench.simulation.runFor(60_000);
    assert.equal(bench.dials.length, before, 'a name that was bound anew leads nowhere');
    answer = ['8.8.4.4'];
    await bench.simulation.runFor(600_000);
    assert.deepEqual(bench.dials.at(-1)?.addrs, ['/ip4/8.8.4.4/tcp/4701']);
  });

  it('waits no longer than usual when the clock was set back', async () => {
    bench = new Bench({ records: [makeRecord(1)] });
    bench.supervisor.start();
    await bench.simulation.runFor(1000);
    const before = bench.dials.length;
    bench.world.skewMs = -24 * 3_600_000;
    bench.change(makeRecord(1, { addrs: ['/ip4/192.0.2.77/tcp/1'] }));
    await bench.simulation.runFor(RECONNECT_FIRST_MS + 1);
    assert.equal(bench.dials.length, before + 1);
  });

  it('stops at once while a name is being looked up that nobody answers for', async () => {
    const names = Promise.withResolvers<string[]>();
    bench = new Bench({
      records: [makeRecord(1, { addrs: ['/dns4/mesh.bolt.example/tcp/4701'] })],
      resolve: () => names.promise,
    });
    bench.supervisor.start();
    await bench.simulation.runFor(1000);
    await bench.simulation.run(bench.supervisor.stop());
    names.resolve(['8.8.8.8']);
    await bench.simulation.runFor(3_600_000);
    assert.deepEqual([bench.dials, bench.supervisor.targets], [[], 0]);
  });

  it('stops with dials under way, and dials nothing afterwards', async () => {
    const records = Array.from({ length: 40 }, (_, n) => makeRecord(n + 1));
    bench = new Bench({ records });
    bench.outcome = () => 'hangs';
    bench.supervisor.start();
    await bench.simulation.runFor(1000);
    assert.equal(bench.underWay, MAX_PARALLEL_DIALS);
    await bench.simulation.run(bench.supervisor.stop());
    assert.equal(bench.underWay, 0);
    const { length } = bench.dials;
    bench.change(makeRecord(50));
    bench.becomes('inactive', numberedPeer(1));
    bench.supervisor.found({ peerId: numberedPeer(1), addrs: ['/ip4/8.8.8.8/tcp/1'], via: 'dht' });
    await bench.simulation.runFor(3_600_000);
    assert.equal(bench.dials.length, length);
    assert.equal(bench.supervisor.targets, 0);
  });
});
