import assert from 'node:assert/strict';
import { parseCid } from '../../../src/facts/index.ts';
import { reindex, verifyLog } from '../../../src/node/maintenance.ts';
import { mend } from '../../../src/node/mend.ts';
import type { FactView } from '../../../src/node/types.ts';
import * as keys from '../../../src/store/keys.ts';
import { type MeshNode, SEED, TestMesh } from '../../support/mesh-node.ts';

describe(`mesh: damaged statements (seed ${SEED})`, () => {
  let mesh: TestMesh;
  let acme: MeshNode;
  let bolt: MeshNode;
  let facts: FactView[];

  beforeEach(async () => {
    mesh = new TestMesh();
    acme = await mesh.start('acme');
    bolt = await mesh.start('bolt');
    facts = [];
    for (let n = 0; n < 20; n++) {
      facts.push(await acme.assert(`ours ${n}`, { scope: 'company' }));
      facts.push(await bolt.assert(`theirs ${n}`, { scope: 'public' }));
    }
    await mesh.connect(acme, bolt);
    await mesh.spread(facts, 5000);
  });
  afterEach(() => mesh.close());

  /** One bit of a stored statement is no longer as it was written. */
  const damage = async (node: MeshNode, fact: FactView): Promise<void> => {
    const key = keys.logKey(parseCid(fact.id).digest);
    const value = Buffer.from((await node.store.get(key))!);
    value[value.length - 20]! ^= 4;
    await node.store.batch([{ type: 'put', key, value }], { durable: true });
  };

  it('fault 43: what is damaged is set aside and fetched again from peers by its CID, our own included', async () => {
    const broken = [facts[4]!, facts[7]!];
    for (const fact of broken) await damage(acme, fact);
    for (const fact of broken) assert.equal(await acme.get(fact.id), undefined, 'never served as good');
    const again = await mesh.restart(acme, async ({ store, open }) => {
      const report = await verifyLog(store, async () => true, { quarantine: true });
      assert.deepEqual(new Set(report.damaged.map(({ id }) => id)), new Set(broken.map(({ id }) => id)));
      await mend(store, false);
      await reindex(store, open);
    });
    assert.ok(!(await again.holds(...broken)));
    await mesh.connect(again, bolt);
    await mesh.spread(facts, 10_000, [again]);
    for (const fact of broken) assert.equal((await again.get(fact.id))!.receivedFrom, bolt.peerId);
    assert.deepEqual(bolt.mesh.refused(again.peerId), {});
  });

  it('keep nothing else from being sent, and are named to their operator', async () => {
    await damage(acme, facts[0]!);
    const core = await mesh.start('core');
    await mesh.connect(acme, core);
    await mesh.run(60_000);
    const ours = facts.filter((_, n) => n % 2 === 0);
    assert.ok(await core.holds(...ours.slice(1)));
    assert.ok(!(await core.holds(ours[0]!)));
    const { warnings } = await acme.node.status();
    assert.ok(warnings.some((warning) => warning.includes(ours[0]!.id)));
    assert.ok(core.mesh.score(acme.peerId) > -100, 'nobody is cut off for it');
  });
});
