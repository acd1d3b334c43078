import assert from 'node:assert/strict';
import { withNode } from '../../src/identity/manifest-edit.ts';
import { encodeBlock } from '../../src/mesh/block.ts';
import { MAX_GOSSIP_CHECKS, MAX_GOSSIP_CHECKS_OF_PEER } from '../../src/mesh/data-limits.ts';
import { FETCH } from '../../src/mesh/fetch.ts';
import { encodePushBlock } from '../../src/mesh/push-frames.ts';
import type { WireStatement } from '../../src/node/federation.ts';
import { SYSTEM } from '../../src/policy/principal.ts';
import { inventOrg, Rogue } from '../support/hostile/rogue.ts';
import { Victim } from '../support/hostile/victim.ts';
import { fact } from '../support/test-node.ts';
import { until } from '../support/until.ts';

describe('mesh: what one hostile peer does, the others do not pay for', function () {
  this.timeout(180_000);
  let acme: Victim;
  let bolt: Victim;
  let rogue: Rogue;

  beforeEach(async () => {
    acme = await Victim.start({ name: 'acme' });
    bolt = await Victim.start({ name: 'bolt' });
    rogue = await Rogue.start({ org: 'rogue.example' });
    await acme.pair(bolt);
    await rogue.join(acme);
  });
  afterEach(async () => {
    await rogue.stop();
    await bolt.stop();
    await acme.stop();
  });

  const pushAll = async (statements: readonly WireStatement[]): Promise<void> => {
    const blocks: Uint8Array[] = [];
    for (let at = 0; at < statements.length; at += 200) blocks.push(encodePushBlock(statements.slice(at, at + 200)));
    await rogue.push(acme, blocks);
  };

  it('fault 26: thousands of sets that a peer made up do not end the reconciliation with others', async () => {
    const statements: WireStatement[] = [rogue.signManifest()];
    for (let n = 0; n < 1000; n++) statements.push(rogue.sign(`own ${n}`, { body: { relation: `own${n}:x` } }));
    for (let n = 0; n < 3; n++) {
      const author = inventOrg(`made-up-${n}.example`);
      statements.push(rogue.signManifest(author.manifest, author));
      for (let i = 0; i < 1000; i++) {
        statements.push(rogue.signAs(author, `n ${i}`, { body: { relation: `topic${i}:x` } }));
      }
    }
    await pushAll(statements);
    const facts = Array.from({ length: 200 }, (_, n) => fact({ relation: `mine${n}:x` }));
    await acme.node.facts.assertBatch(SYSTEM, { facts, atomic: true });
    assert.ok(acme.node.sets.list(acme.mesh.peering.pairing(bolt.peerId)!).length > 4096);
    const after = await acme.assert('after', { scope: 'company' });
    await until(async () => {
      // What the rogue said is passed on meanwhile: a session that sees it come ends with `changed`, and is none to judge by.
      await acme.mesh.data.sync(bolt.peerId);
      return acme.mesh.data.lastSync(bolt.peerId)?.result === 'converged';
    }, 'a session in which nothing changed');
    assert.ok((await bolt.get(after.id)) !== undefined);
  });

  it('fault 10: what a relay passes on in good faith is not held against it', async () => {
    await rogue.join(bolt);
    const say = await rogue.gossip(acme);
    const author = inventOrg('author.example');
    const foreign = inventOrg('author.example');
    const junk = Array.from({ length: 60 }, (_, n) => rogue.sign(`junk ${n}`, { ...foreign, origin: foreign.peerId }));
    await rogue.push(acme, [encodePushBlock([rogue.signManifest(author.manifest, author)])]);
    say(encodeBlock([rogue.sign('good'), ...junk]));
    await until(async () => (acme.mesh.data.refused(rogue.peerId).not_owner ?? 0) >= 60, 'acme refuses the junk');
    // What acme says later is heard later than whatever it passed on.
    await acme.gossipsTo(bolt);
    assert.deepEqual(bolt.mesh.data.refused(acme.peerId), {});
    assert.equal(bolt.mesh.data.score(acme.peerId), 0);
    assert.ok(bolt.isActive(acme.peerId));
  });

  it('fault 10: an organisation that tells everybody something else costs itself, not who passed its words on', async () => {
    // A second node that acme hears is listed, and bolt does not.
    const second = inventOrg('rogue.example');
    const signing = { orgKey: rogue.orgKey, now: Date.now() };
    const there = withNode(rogue.manifest, { peerId: second.peerId }, signing);
    const here = withNode(rogue.manifest, { peerId: inventOrg('other.example').peerId }, signing);
    // Bolt is shown its own when they pair, and tells nobody. What acme is sent it passes on, too late for bolt.
    rogue.manifest = here;
    await rogue.join(bolt);
    await rogue.push(acme, [encodePushBlock([rogue.signManifest(there)])]);
    const say = await rogue.gossip(acme);
    const accepted = (): Promise<number> => acme.metric('stigmesh_mesh_gossip_messages_total', { outcome: 'accept' });
    const refused = (): number => bolt.mesh.data.refused(acme.peerId).not_owner ?? 0;
    // Some may be lost, and some come a second time by reconciliation.
    for (let n = 0; n < 30 || refused() < 30; n++) {
      const before = await accepted();
      say(encodeBlock([rogue.sign(`by second ${n}`, { origin: second.peerId, key: second.key })]));
      await until(async () => (await accepted()) > before, 'acme takes it and passes it on');
    }
    assert.equal(bolt.mesh.data.score(acme.peerId), 0);
    assert.ok(bolt.isActive(acme.peerId));
    assert.ok((await bolt.audited('statement_refused')).has('not_owner'));
    // Said in its own name it counts.
    await rogue.push(bolt, [encodePushBlock([rogue.sign('own', { origin: second.peerId, key: second.key })])]);
    assert.ok(bolt.mesh.data.score(rogue.peerId) < 0);
  });

  it('gossip of others gets through while a peer has us wait for manifests that never come', async () => {
    rogue.serves.set(FETCH.id, () => new Promise(() => {}));
    const say = await rogue.gossip(acme);
    const author = inventOrg('nowhere.example');
    await bolt.gossipsTo(acme);
    const checks = (): number => acme.mesh.data.figures().queues.gossip_checks!;
    let said = 0;
    // Each is given up after a while; there are always more than are looked at at a time, of all peers together.
    const flood = (): void => {
      for (let n = 0; n < MAX_GOSSIP_CHECKS + 50; n++, said++) {
        say(encodeBlock([rogue.signAs({ ...author, org: `nowhere-${said}.example` }, `n ${said}`)]));
      }
    };
    flood();
    const flooding = setInterval(flood, 500);
    try {
      await until(() => checks() >= MAX_GOSSIP_CHECKS_OF_PEER, 'acme examines as many as it may of one peer');
      // Not by reconciliation, which would bring it in the end, but by gossip like everything else.
      await bolt.gossipsTo(acme, { isOnce: true });
    } finally {
      clearInterval(flooding);
    }
  });

  it('a name that somebody made a manifest for does not keep its owner from pairing', async () => {
    const squatter = inventOrg('core.example');
    await rogue.push(acme, [encodePushBlock([rogue.signManifest(squatter.manifest, squatter)])]);
    assert.equal(acme.node.manifests.known('core.example')?.standing, 'seen');
    const core = await Victim.start({ name: 'core' });
    try {
      await acme.pair(core);
      assert.equal(acme.node.manifests.known('core.example')?.standing, 'pinned');
      assert.equal(
        acme.node.manifests.known('core.example')?.fingerprint,
        core.node.manifests.known('core.example')?.fingerprint,
      );
    } finally {
      await core.stop();
    }
    const dune = await Victim.start({ name: 'dune' });
    try {
      const other = inventOrg('dune.example');
      await rogue.push(acme, [encodePushBlock([rogue.signManifest(other.manifest, other)])]);
      const invite = await dune.invite();
      await acme.mesh.federation.join(SYSTEM, { invite, gives: ['public'], takes: ['public'], allowPrivate: true });
      assert.equal(acme.node.manifests.known('dune.example')?.standing, 'pinned');
    } finally {
      await dune.stop();
    }
  });
});
