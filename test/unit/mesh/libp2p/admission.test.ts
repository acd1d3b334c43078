import assert from 'node:assert/strict';
import type { Connection, Libp2p, PeerId } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { AdmissionGate, type Registrar } from '../../../../src/mesh/libp2p/admission.ts';
import { numberedPeer } from '../../../support/org.ts';

const PROTOCOL = '/test/1.0.0';

/** A host on paper: connections come and go as it is told. */
class Host extends EventTarget {
  readonly open = new Map<string, Connection[]>();
  /** Times that the list of all connections was made. */
  listed = 0;

  getConnections(peerId?: PeerId): Connection[] {
    if (peerId) return this.open.get(peerId.toString()) ?? [];
    this.listed += 1;
    return [...this.open.values()].flat();
  }

  connect(peerId: PeerId): { readonly aborted: string[] } {
    const aborted: string[] = [];
    const streams = [PROTOCOL, '/other/1.0.0'].map((protocol) => ({ protocol, abort: () => aborted.push(protocol) }));
    this.open.set(peerId.toString(), [{ remotePeer: peerId, status: 'open', streams } as unknown as Connection]);
    return { aborted };
  }

  disconnect(peerId: PeerId): void {
    this.open.delete(peerId.toString());
    this.dispatchEvent(new CustomEvent('peer:disconnect', { detail: peerId }));
  }

  identify(peerId: PeerId): void {
    this.dispatchEvent(new CustomEvent('peer:identify', { detail: { peerId, protocols: [PROTOCOL] } }));
  }
}

async function makeGate(admitted: ReadonlySet<string>) {
  const met: string[] = [];
  const host = new Host();
  const gate = new AdmissionGate((peerId) => admitted.has(peerId));
  const registrar = {} as Registrar;
  await gate.components({ registrar }).registrar.register(PROTOCOL, {
    onConnect: (peerId) => {
      met.push(peerId.toString());
    },
  });
  gate.follow(host as unknown as Libp2p);
  return { gate, host, met };
}

describe('the gate before the services of libp2p', () => {
  const id = peerIdFromString(numberedPeer(1));

  it('meets a peer that is admitted once it said who it is, and lets it go with its connection', async () => {
    const { gate, host, met } = await makeGate(new Set([id.toString()]));
    host.connect(id);
    host.identify(id);
    assert.deepEqual([met, gate.members], [[id.toString()], [id.toString()]]);
    host.disconnect(id);
    assert.deepEqual(gate.members, []);
  });

  it('keeps no place for a peer that went while what it said was being written down', async () => {
    const admitted = new Set<string>();
    const { gate, host, met } = await makeGate(admitted);
    host.connect(id);
    host.disconnect(id);
    host.identify(id);
    // A place that was kept would be found again by the next connection, before the peer said anything on it.
    admitted.add(id.toString());
    host.connect(id);
    gate.recheck(id.toString());
    assert.deepEqual([met, gate.members], [[], []]);
    host.identify(id);
    assert.deepEqual(met, [id.toString()]);
  });

  it('shuts a peer out without looking at the connections of all others', async () => {
    const admitted = new Set([id.toString()]);
    const { gate, host } = await makeGate(admitted);
    const other = peerIdFromString(numberedPeer(2));
    const [mine, theirs] = [host.connect(id), host.connect(other)];
    host.identify(id);
    admitted.clear();
    gate.recheck(id.toString());
    assert.deepEqual([mine.aborted, theirs.aborted, gate.members, host.listed], [[PROTOCOL], [], [], 0]);
  });
});
