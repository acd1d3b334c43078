import assert from 'node:assert/strict';
import { connect as connectSocket, type Socket } from 'node:net';
import { canonicalBytes, formatHlc, type JsonValue } from '../../src/facts/index.ts';
import { withNode, withRotation } from '../../src/identity/manifest-edit.ts';
import { encodeBlock } from '../../src/mesh/block.ts';
import { GATE_BURST_STATEMENTS, GATE_STATEMENTS_PER_SECOND } from '../../src/mesh/data-limits.ts';
import { DECLARE } from '../../src/mesh/declare.ts';
import { FETCH } from '../../src/mesh/fetch.ts';
import { encodeHave, encodePushBlock, PUSH } from '../../src/mesh/push-frames.ts';
import { SYNC } from '../../src/mesh/sync-session.ts';
import type { WireStatement } from '../../src/node/federation.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import { encodeFrame, type Frame } from '../../src/sync/frames.ts';
import { END_KEY, FIRST_KEY, type Key, keyOf } from '../../src/sync/key.ts';
import { replicate } from '../support/hostile/bystander.ts';
import { DaemonUnderAttack } from '../support/hostile/process.ts';
import { inventOrg, Rogue } from '../support/hostile/rogue.ts';
import { SyncTalk } from '../support/hostile/sync-talk.ts';
import { SHARED, Victim } from '../support/hostile/victim.ts';
import { until } from '../support/until.ts';

/** What one attack may add to the most memory the daemon ever took, MiB: garbage of a flood, and no more. */
const MOST_GROWTH_MIB = 160;

/** How often, and how much: `npm run test:long` does ten times as much. */
const SCALE = Number(process.env.STIGMESH_HOSTILE_SCALE ?? 1);

describe('mesh: a hostile peer of a real daemon', function () {
  this.timeout(300_000 * SCALE);
  let acme: DaemonUnderAttack;
  let bolt: Victim;
  let rogue: Rogue;
  let count = 0;
  let peak = 0;
  /** What bolt, an honest peer, notices meanwhile. */
  let watch: { stop(): Promise<void> };

  before(async () => {
    acme = await DaemonUnderAttack.start('acme');
    bolt = await Victim.start({ name: 'bolt' });
    const invite = await acme.invite();
    await bolt.mesh.federation.join(SYSTEM, { invite, ...SHARED, allowPrivate: true });
    // The one statement of its own: whatever is counted after it came from somebody else.
    await until(async () => {
      await bolt.mesh.data.sync(acme.peerId).catch(() => {});
      return (await facts()) > 0;
    }, 'the manifest of the bystander is there');
  });
  after(async () => {
    await bolt?.stop();
    await acme?.stop();
  });

  beforeEach(async () => {
    rogue = await Rogue.start({ org: `rogue-${count++}.example` });
    await rogue.join(acme);
    peak = acme.peakMiB();
    watch = replicate(acme, bolt);
  });
  afterEach(async () => {
    try {
      // While the attacker is still there, with all that it left open.
      await watch.stop();
    } finally {
      await rogue.stop();
    }
    assert.ok(bolt.isActive(acme.peerId), 'the bystander is connected');
    assert.equal(bolt.mesh.data.score(acme.peerId), 0, 'and was told nothing to hold against the daemon');
    const growth = acme.peakMiB() - peak;
    assert.ok(growth < MOST_GROWTH_MIB, `the daemon took ${Math.round(growth)} MiB more`);
  });

  const pushed = (...statements: WireStatement[]): Promise<void> => rogue.push(acme, [encodePushBlock(statements)]);
  const facts = (): Promise<number> => acme.metric('stigmesh_mesh_statements_received_total', 'outcome="accepted"');
  const offences = (code: string): Promise<number> => acme.metric('stigmesh_mesh_offences_total', `code="${code}"`);
  const cutOff = (): Promise<void> => until(() => !rogue.isConnected(acme), 'the rogue is cut off');

  it('fault 9: flipped bits are refused, never stored, and their sender is cut off', async () => {
    const before = await facts();
    const good = rogue.sign('good');
    for (const at of [30, 200, good.bytes.length - 3]) {
      const bytes = good.bytes.slice();
      bytes[at]! ^= 4;
      await pushed({ bytes, sig: good.sig });
    }
    const sig = good.sig.slice();
    sig[5]! ^= 1;
    await pushed({ bytes: good.bytes, sig });
    await acme.refuses(rogue.peerId, 'bad_signature');
    await pushed(...Array.from({ length: 5 }, () => ({ bytes: good.bytes, sig }))).catch(() => {});
    await acme.refuses(rogue.peerId, 'bad_signature', 'peer_penalised');
    await cutOff();
    assert.equal(await facts(), before);
    await assert.rejects(rogue.push(acme, [encodePushBlock([good])]), 'and gets no connection');
  });

  it('fault 10: another signer, another organisation, another name: each with its code', async () => {
    const before = await facts();
    const stranger = inventOrg('stranger.example');
    await pushed(rogue.sign('forged', { key: stranger.key }));
    await acme.refuses(rogue.peerId, 'bad_signature');
    await pushed(rogue.sign('theirs', { org: bolt.org }));
    await pushed(rogue.sign('entity', { body: { entity: `stigmem://${acme.org}/user/boss` } }));
    await pushed(rogue.sign('source', { body: { source: `stigmem://${bolt.org}/agent/hr` } }));
    await pushed(rogue.sign('ours', { org: acme.org }));
    await acme.refuses(rogue.peerId, 'not_owner');
    const { refused, score } = await acme.peer(rogue.peerId);
    assert.deepEqual(refused, { bad_signature: 1, not_owner: 4 });
    assert.ok(score < 0);
    assert.equal(await facts(), before);
  });

  it('fault 11: the same statement in other bytes is not the statement', async () => {
    const { bytes } = rogue.sign('spelled otherwise');
    const json = JSON.parse(Buffer.from(bytes).toString()) as { [name: string]: JsonValue };
    const { v, ...rest } = json;
    const spellings = [
      JSON.stringify({ ...rest, v }),
      JSON.stringify(json, null, 1),
      Buffer.from(bytes).toString().replace('"v":1}', '"v":1.0}').replace('"confidence":1,', '"confidence":1.0,'),
      Buffer.from(bytes).toString().replace('{"audience"', '{"audience":"public","audience"'),
    ];
    await pushed(...spellings.map((text) => ({ bytes: Buffer.from(text), sig: Buffer.alloc(64) }))).catch(() => {});
    await acme.refuses(rogue.peerId, 'not_canonical');
  });

  it('fault 13: what a later version says is kept and harms nothing; a frame of no known type ends the stream', async () => {
    const before = await facts();
    const { bytes } = rogue.sign('from the future', { body: { relation: 'later:x' } });
    const later = { ...(JSON.parse(Buffer.from(bytes).toString()) as object), v: 7, novelty: { deep: [1, 2, 3] } };
    const signed = rogue.signBytes(canonicalBytes(later as unknown as JsonValue));
    await pushed(signed);
    assert.equal(await facts(), before + 1);
    for (const [protocol, frame] of [
      [PUSH, Buffer.of(0x7f, 1, 2, 3)],
      [FETCH, Buffer.of(0x7f)],
      [PUSH, Buffer.of(0x01, 0)],
    ] as const) {
      const was = await offences('malformed_frame');
      assert.deepEqual((await rogue.ask(acme, protocol, frame)).frames, []);
      await until(async () => (await offences('malformed_frame')) > was, `${protocol.id}: malformed_frame`);
    }
    await acme.refuses(rogue.peerId, 'malformed_frame', 'peer_penalised');
  });

  it('fault 15: scopes and topics that were not agreed on are refused, whatever way they come', async () => {
    const narrow = await Rogue.start({ org: 'narrow.example' });
    try {
      const terms = { gives: ['public'], takes: ['public'], namespaces: ['memory'] } as const;
      await narrow.join(acme, terms);
      const outside = [
        narrow.sign('team', { body: { scope: 'team' } }),
        narrow.sign('company', { body: { scope: 'company' } }),
        narrow.sign('local', { body: { scope: 'local' } }),
        narrow.sign('topic', { body: { relation: 'roadmap:x' } }),
        narrow.sign('garden', { ext: { garden_id: 'stigmem://narrow.example/garden/g' } }),
      ];
      await narrow.push(acme, [encodePushBlock([...outside, narrow.sign('inside')])]);
      await acme.refuses(narrow.peerId, 'scope_violation');
      assert.deepEqual((await acme.peer(narrow.peerId)).refused, { scope_violation: 5 });
    } finally {
      await narrow.stop();
    }
  });

  it('fault 17: a replay, two hundred times over, writes nothing and is no offence', async () => {
    const old = rogue.sign('old');
    await pushed(old);
    const before = await facts();
    await rogue.push(
      acme,
      Array.from({ length: 200 * SCALE }, () => encodePushBlock([old])),
    );
    assert.equal(await facts(), before);
    assert.deepEqual(await acme.peer(rogue.peerId).then(({ refused, score }) => ({ refused, score })), {
      refused: {},
      score: 0,
    });
  });

  it('fault 24: a length of two gigabytes is refused before a byte is reserved, on every protocol', async () => {
    for (const { id } of [PUSH, FETCH, SYNC, DECLARE]) {
      const was = await offences('frame_too_large');
      const other = await Rogue.start({ org: `long-${count++}.example` });
      await other.join(acme);
      // A stream may be refused before a byte of it was read: of sessions there is one at a time, and it may be theirs.
      await until(async () => {
        const stream = await other.raw(acme, id);
        if (stream.writeStatus === 'writable') stream.send(Buffer.of(0x80, 0, 0, 0, 1, 2, 3));
        await until(() => stream.status !== 'open' || stream.readableEnded, `${id} is reset`);
        return (await offences('frame_too_large')) > was;
      }, `${id}: frame_too_large`);
      assert.equal((await acme.peer(other.peerId)).refused.frame_too_large, 1);
      await other.stop();
    }
  });

  it('fault 25: a flood of ten times the quota is slowed down to it', async () => {
    const statements = Array.from({ length: 500 }, (_, n) => rogue.sign(`flood ${n}`));
    const block = encodePushBlock(statements);
    const since = performance.now();
    /** What the quota allows up to now, whatever the machine could do. */
    const allowed = (): number =>
      GATE_BURST_STATEMENTS + (GATE_STATEMENTS_PER_SECOND * (performance.now() - since)) / 1000;
    await pushed(...statements);
    // What is held already costs the least to look at, and counts all the same.
    await rogue.push(
      acme,
      Array.from({ length: 50 * SCALE }, () => block),
    );
    const taken = 500 + 500 * 50 * SCALE;
    assert.ok(taken <= allowed() + 500, `${taken} statements were taken, ${allowed()} are allowed`);
    assert.ok(rogue.isConnected(acme), 'slowed, not cut off');
    const judged = (label = ''): Promise<number> => acme.metric('stigmesh_mesh_gossip_messages_total', label);
    const before = await judged();
    const say = await rogue.gossip(acme);
    for (let said = 0; (await judged()) < before + 100; ) {
      for (let n = 0; n < 20; n++) say(encodeBlock([...statements.slice(0, 80), rogue.sign(`message ${said++}`)]));
    }
    const examined = (await judged()) - before - (await judged('reason="over_quota"'));
    assert.ok(taken + 81 * examined <= allowed() + 500, `${examined} messages were looked at`);
    assert.ok(rogue.isConnected(acme), 'dropped, not cut off');
  });

  it('fault 31: a clock a day ahead is refused and warned of, and drags ours nowhere', async () => {
    const hlcMs = Date.now() + 86_400_000;
    await pushed(rogue.sign('tomorrow', { hlcMs }));
    await acme.refuses(rogue.peerId, 'hlc_ahead');
    const { warnings } = await acme.call<{ warnings: string[] }>('GET', '/v1/status');
    assert.ok(
      warnings.some((warning) => warning.includes('clock')),
      warnings.join(),
    );
    const id = await acme.say('today', 'local');
    const { hlc } = await acme.call<{ hlc: string }>('GET', `/v1/facts/${id}`);
    assert.ok(Number(hlc.slice(0, 13)) < Date.now() + 60_000);
  });

  it('fault 7: a rotation that its old key signed is taken; without, it is refused; fault 8: so is a second truth', async () => {
    const signing = { orgKey: rogue.orgKey, now: Date.now() };
    const one = withNode(rogue.manifest, { peerId: inventOrg('a.example').peerId }, signing);
    const other = withNode(rogue.manifest, { peerId: inventOrg('b.example').peerId }, signing);
    await pushed(rogue.signManifest(one));
    await pushed(rogue.signManifest(other));
    await acme.refuses(rogue.peerId, 'manifest_equivocation');
    const usurper = inventOrg(rogue.org);
    await pushed(
      rogue.signManifest(withNode(usurper.manifest, { peerId: rogue.peerId }, { ...signing, orgKey: usurper.orgKey })),
    );
    await acme.refuses(rogue.peerId, 'rotation_unproven');
    const foreign = { ...one, version: 9, nodes: [{ peer_id: rogue.peerId, namespaces: [acme.org] }] };
    await pushed(rogue.signManifest(foreign));
    await acme.refuses(rogue.peerId, 'manifest_invalid');
    const next = inventOrg(rogue.org).orgKey;
    await pushed(rogue.signManifest(withRotation(one, next, signing)));
    const known = await acme.call<{ version: number }>('GET', `/v1/federation/manifest/${rogue.org}`);
    assert.equal(known.version, 3);
  });

  it('fault 8: two statements with one reading of one clock raise the alarm, and both stay as evidence', async () => {
    const hlc = formatHlc(Date.now() - 5000, 7);
    for (const v of ['one', 'two']) await pushed(rogue.sign(v, { hlc }));
    await until(async () => {
      const page = await acme.call<{ entries: { event_type?: string; type?: string }[] }>('GET', '/v1/audit?limit=500');
      return JSON.stringify(page).includes('equivocation');
    }, 'the audit log says so');
    assert.ok(rogue.isConnected(acme), 'the rest goes on');
  });

  it('fault 37: a peer that retracts what is not its own says its opinion', async () => {
    const entity = `stigmem://${acme.org}/user/carol`;
    const id = await acme.say('carol', 'public', { entity });
    await pushed(rogue.sign('carol', { body: { entity, confidence: 0, value: { type: 'text', v: 'carol' } } }));
    const query = new URLSearchParams({ entity, relation: 'memory:role' });
    const { facts: shown } = await acme.call<{ facts: { id: string }[] }>('GET', `/v1/facts?${query}`);
    assert.ok(shown.some((fact) => fact.id === id));
  });

  it('fault 22: a hundred thousand subscriptions end the connection, not the daemon', async () => {
    const was = await offences('protocol_violation');
    for (let from = 0; from < 100_000 && rogue.isConnected(acme); from += 1000) {
      const subscriptions = Array.from({ length: 1000 }, (_, n) => ({ subscribe: true, topic: `/topic/${from + n}` }));
      await rogue.rpc(acme, { subscriptions, messages: [] }).catch(() => {});
    }
    await cutOff();
    assert.ok((await offences('protocol_violation')) > was);
  });

  it('fault 23: a thousand connections that never shake hands, and then one that does', async () => {
    const [, , host, , port] = acme.addrs[0]!.split('/');
    const sockets: Socket[] = [];
    let closed = 0;
    let most = 0;
    const look = async (): Promise<void> => {
      most = Math.max(most, await acme.metric('stigmesh_network_half_open_connections'));
    };
    for (let n = 0; n < 1000 * SCALE; n++) {
      const socket = connectSocket({ host: host!, port: Number(port) });
      socket.on('error', () => {}).on('close', () => closed++);
      sockets.push(socket.resume());
      if (n % 50 === 49) await look();
    }
    await until(async () => {
      await look();
      return closed >= 1000 * SCALE - 64;
    }, 'all but a few are refused');
    assert.ok(most <= 64, `${most} were half open`);
    for (const socket of sockets) socket.destroy();
    const late = await Rogue.start({ org: `late-${count++}.example` });
    await until(
      () =>
        late.join(acme).then(
          () => true,
          () => false,
        ),
      'a peer that comes afterwards pairs',
    );
    await late.stop();
  });

  it('fault 23: ten thousand streams are as many as each protocol allows', async () => {
    const connection = await rogue.dial(acme);
    let open = 0;
    for (let from = 0; from < 10_000 * SCALE; from += 500) {
      const ids = [PUSH.id, FETCH.id, SYNC.id, DECLARE.id, '/unknown/1'];
      const streams = Array.from({ length: 500 }, (_, n) =>
        connection.newStream([ids[n % ids.length]!], {
          maxOutboundStreams: 100_000,
          signal: AbortSignal.timeout(5000),
        }),
      );
      open += (await Promise.allSettled(streams)).filter(({ status }) => status === 'fulfilled').length;
      if (connection.status !== 'open') break;
    }
    assert.ok((await acme.metric('stigmesh_network_streams')) < 40);
    assert.ok(open < 10_000 * SCALE);
  });

  it('fault 27: an answer that never ends is cut off', async () => {
    const was = await offences('unrequested');
    rogue.serves.set(FETCH.id, async (stream) => {
      await stream.receive();
      for (let n = 0; ; n++) await stream.send(encodeBlock([rogue.sign(`endless ${n}`)]));
    });
    const stream = await rogue.open(acme, PUSH);
    for (let n = 0; n < 5 && rogue.isConnected(acme); n++) {
      await stream.send(encodeHave([Buffer.alloc(32, n)])).catch(() => {});
      await until(async () => (await offences('unrequested')) > was + n || !rogue.isConnected(acme), 'unrequested');
    }
    await acme.refuses(rogue.peerId, 'unrequested', 'peer_penalised');
    await cutOff();
  });

  it('fault 28: a peer that takes nothing costs what is on its way to it, and nothing else', async () => {
    rogue.serves.set(PUSH.id, () => new Promise(() => {}));
    const frozen = await Rogue.start({ org: `frozen-${count++}.example` });
    frozen.serves.set(PUSH.id, () => new Promise(() => {}));
    await frozen.join(acme);
    for (let n = 0; n < 100 * SCALE; n++) {
      await acme.say(`large-${count}-${n}`, 'company', { value: { type: 'text', v: 'x'.repeat(60_000) } });
    }
    let inFlight = 0;
    await until(async () => {
      inFlight = await acme.metric('stigmesh_mesh_queue_length', 'push_in_flight_bytes');
      return inFlight > 0;
    }, 'something is on its way');
    assert.ok(inFlight <= 3 * 1024 * 1024 + 300_000, `${inFlight} bytes on their way`);
    assert.ok((await acme.metric('stigmesh_mesh_queue_length', 'outbox_bytes')) <= 8 * 1024 * 1024);
    await frozen.stop();
  });

  it('a byte a second is not enough to keep a stream', async () => {
    const stream = await rogue.raw(acme, DECLARE.id);
    const frame = Buffer.concat([Buffer.of(0, 0, 1, 0), Buffer.alloc(256, 0x20)]);
    // Of 260 seconds that the frame would take.
    for (let at = 0; stream.writeStatus === 'writable' && at < 60; at++) {
      stream.send(frame.subarray(at, at + 1));
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    assert.notEqual(stream.writeStatus, 'writable', 'it was ended on the way');
  });

  it('fault 26: of a thousand sessions at once one is held', async () => {
    const sessions = await Promise.allSettled(
      Array.from({ length: 1000 }, async () => {
        const stream = await rogue.open(acme, SYNC);
        await stream.send(
          encodeFrame({ type: 'hello', nonce: Buffer.alloc(16, 1), root: Buffer.alloc(16), accepts: 1 }),
        );
        return (await stream.receive()) !== undefined;
      }),
    );
    const held = sessions.filter((one) => one.status === 'fulfilled' && one.value).length;
    assert.ok(held <= 2, `${held} sessions`);
    assert.ok((await acme.metric('stigmesh_mesh_queue_length', 'sync_sessions')) <= 4);
  });

  const lies: readonly [string, string, (talk: SyncTalk, sets: readonly string[]) => Promise<void>][] = [
    [
      'ranges_disordered',
      'ranges that overlap',
      async (talk, [tag]) => {
        await talk.say(whole(tag!), whole(tag!));
        await talk.pass();
      },
    ],
    [
      'too_many_ranges',
      'ranges that never end',
      async (talk, [tag]) => {
        for (let n = 0; n < 10_000; n += 500) await talk.say(many(tag!, n, 500));
        await talk.pass();
      },
    ],
    [
      'withheld',
      'ids of statements that there are not',
      async (talk, [tag]) => {
        const ids = Array.from({ length: 30 }, (_, n) => keyAt(Date.now() - 10_000 - n, n));
        await talk.say({
          type: 'ranges',
          sections: [{ tag: tag!, upper: END_KEY, ranges: [{ mode: 2, lower: FIRST_KEY, ids }] }],
        });
        await talk.pass();
        for (let turn = 0; turn < 4; turn++) {
          const frames = await talk.turn();
          const last = frames.at(-1);
          if (last === undefined || last.type === 'stop' || (last.type === 'turn' && last.fin)) return;
          await talk.pass({ fin: frames.length === 1 });
        }
      },
    ],
    [
      'diverged',
      'fingerprints and checks that are made up',
      async (talk) => {
        await talk.pass({ fin: true });
      },
    ],
    ['want_invalid', 'wants of what was not offered', (talk) => talk.say({ type: 'want', ordinals: [5000] })],
    ['name_invalid', 'names nobody asked for', (talk) => talk.say({ type: 'names', names: ['public/acme.example/x'] })],
    ['idle_turn', 'promises of more, and nothing', (talk) => talk.pass({ pending: true })],
    ['frame_unknown', 'a frame of no known type', (talk) => talk.say(Buffer.of(0x55))],
  ];
  it('fault 26: lies in a reconciliation end it by their name, and cost the liar its place', async () => {
    const liars: Rogue[] = [];
    try {
      for (const [reason, what, lie] of lies) {
        const liar = await Rogue.start({ org: `liar-${count++}.example` });
        liars.push(liar);
        await liar.join(acme);
        // Where somebody writes during a session, a difference at its end proves nothing: the lie is told again.
        await until(async () => {
          // Who was caught is cut off, perhaps before the audit log tells.
          const opened = await SyncTalk.open(liar, acme).catch(() => undefined);
          if (opened !== undefined) {
            const { talk, vector } = opened;
            const sets = vector.flatMap((frame) =>
              frame.type === 'vector' ? frame.entries.map(({ tag }) => tag) : [],
            );
            await lie(talk, sets).catch(() => {});
            await talk.turn();
            talk.end();
          }
          return JSON.stringify(await acme.audited('sync_failed', liar.peerId)).includes(`"${reason}"`);
        }, `${what}: ${reason}`).catch((error: Error) => assert.fail(error.message));
        assert.ok((await acme.peer(liar.peerId)).score < 0, what);
      }
    } finally {
      for (const liar of liars) await liar.stop();
    }
  });
});

function keyAt(ms: number, n: number): Key {
  return keyOf(formatHlc(ms, 0), Buffer.alloc(32, n));
}

/** One range over everything, with a fingerprint that is made up. */
function whole(tag: string): Frame {
  const range = { mode: 1, lower: FIRST_KEY, fingerprint: Buffer.alloc(16, 1) } as const;
  return { type: 'ranges', sections: [{ tag, upper: END_KEY, ranges: [range] }] };
}

/** So many ranges below each other, from the n-th on. */
function many(tag: string, from: number, count: number): Frame {
  const at = (n: number): Key => keyAt(Date.UTC(2026, 0, 1) - n * 1000, 0);
  const ranges = Array.from({ length: count }, (_, n) => {
    return { mode: 1, lower: at(from + n + 1), fingerprint: Buffer.alloc(16, n & 0xff) } as const;
  });
  return { type: 'ranges', sections: [{ tag, upper: at(from), ranges }] };
}
