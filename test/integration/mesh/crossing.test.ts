import assert from 'node:assert/strict';
import { formatHlc } from '../../../src/facts/index.ts';
import type { OrgManifest } from '../../../src/identity/manifest.ts';
import { withNode, withoutNode, withoutRevokedNode } from '../../../src/identity/manifest-edit.ts';
import { SYSTEM } from '../../../src/policy/principal.ts';
import { SEED, TestMesh } from '../../support/mesh-node.ts';

describe(`mesh: decisions that cross a declaration (seed ${SEED})`, () => {
  let mesh: TestMesh;

  beforeEach(() => {
    mesh = new TestMesh();
  });
  afterEach(() => mesh.close());

  it('a node that its organisation lists no longer is not served for a moment, though it was when it declared itself', async () => {
    const [acme, beta] = [await mesh.start('acme'), await mesh.start('beta')];
    const other = await mesh.start('other', { org: 'beta.example' });
    await acme.approve(beta);
    await beta.approve(acme);
    const signing = { orgKey: mesh.simulation.key('org beta.example'), now: mesh.simulation.now };
    const own = beta.node.manifests.own as OrgManifest;
    const both = withNode(own, { peerId: other.peerId }, signing);
    const revoked = withoutNode(both, beta.peerId, formatHlc(signing.now, 0), signing);
    const without = withoutRevokedNode(revoked, beta.peerId, signing);
    const { peers, manifests } = acme.node;
    const declared = peers.declared.bind(peers);
    let crossed = 0;
    peers.declared = async (...said) => {
      const record = await declared(...said);
      await manifests.accept(SYSTEM, without, { pin: true });
      crossed += 1;
      return record;
    };
    const active: string[] = [];
    let served = false;
    acme.peering.on({ active: ({ peerId }) => active.push(peerId) });
    const pairing = acme.peering.pairing.bind(acme.peering);
    void beta.dial(acme).catch(() => {});
    for (let step = 0; step < 200; step++) {
      await mesh.run(5);
      served ||= pairing(beta.peerId) !== undefined;
    }
    assert.ok(crossed > 0);
    assert.deepEqual([active, served], [[], false]);
  });
});
