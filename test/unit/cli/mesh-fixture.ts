import type { PeerView } from '../../../src/node/federation.ts';
import type { NodeStatus } from '../../../src/node/types.ts';
import { FakeFederation, testKey } from '../../support/fake-federation.ts';
import { ADMIN_KEY, nodeStatus, start, stopAll } from '../api/fakes.ts';
import { Home, type Ran, type RunOptions } from './fixture.ts';

/** A home, and an API with a mesh in memory behind it, new for every test of the suite that makes it. */
export class MeshBench {
  home!: Home;
  mesh!: FakeFederation;
  /** Unix ms of everything: the commands, the API, the mesh. */
  now = 0;
  node: Partial<NodeStatus> = {};
  #url = '';

  constructor() {
    beforeEach(async () => {
      this.now = Date.UTC(2030, 0, 1);
      const now = () => this.now;
      this.node = {};
      this.home = new Home();
      this.mesh = new FakeFederation('acme.example', now);
      const status = async () => nodeStatus(this.node);
      const identity = {
        peerId: this.mesh.node.peerId,
        org: 'acme.example',
        fingerprint: this.mesh.orgKey.fingerprint,
      };
      const { api } = await start({ more: { federation: this.mesh, meshEvents: this.mesh, identity, now, status } });
      this.#url = api.url;
    });
    afterEach(async () => {
      await stopAll();
      this.home.remove();
    });
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const env = { STIGMESH_URL: this.#url, STIGMESH_API_KEY: ADMIN_KEY, ...options.env };
    return this.home.run(args, { ...options, env, world: { now: () => this.now, ...options.world } });
  }

  put(more: Partial<PeerView> = {}): PeerView {
    return this.mesh.put({ peerId: testKey().peerId, createdAt: this.now, changedAt: this.now, ...more });
  }
}

/** Somebody at a terminal who types this. */
export function typed(text: string): RunOptions {
  async function* keys(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  }
  return { world: { stdin: Object.assign(keys(), { isTTY: true }) } };
}
