import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { PeerLag } from '../node/federation.ts';
import type { Via } from './intake.ts';
import type { GossipVerdict } from './transport.ts';

/** What the data plane counts while it works. Labels come from fixed sets. */
export interface MeshMetrics {
  /** Statements that came from peers, and what became of them. */
  admitted(via: Via, outcome: 'accepted' | 'duplicate' | 'refused', statements: number): void;
  refused(code: string, statements: number): void;
  gossip(verdict: GossipVerdict, reason: string): void;
  published(statements: number): void;
  pushed(statements: number): void;
  gap(): void;
  synced(outcome: string, seconds: number, sent: number, received: number): void;
  offence(code: string): void;
  penalised(code: string): void;
}

const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120];

/** Creates what the data plane counts, in the registry of the process. */
export function createMeshMetrics(registry: Registry): MeshMetrics {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> =>
    new Counter({ name, help, labelNames, registers });
  const admitted = counter(
    'stigmesh_mesh_statements_received_total',
    'Statements that peers sent, by the way they came and what became of them',
    ['kind', 'outcome'],
  );
  const refused = counter('stigmesh_mesh_statements_refused_total', 'Statements of peers that were refused, by code', [
    'code',
  ]);
  const gossip = counter(
    'stigmesh_mesh_gossip_messages_total',
    'Gossip messages that were judged: accept (passed on), ignore or reject, and why',
    ['outcome', 'reason'],
  );
  const published = counter('stigmesh_mesh_gossip_published_total', 'Statements this node put into gossip');
  const pushed = counter('stigmesh_mesh_pushed_total', 'Statements sent whole to one peer by push');
  const gaps = counter(
    'stigmesh_mesh_push_gaps_total',
    'Times a peer could not be pushed everything, so that reconciliation has to bring it',
  );
  const syncs = counter(
    'stigmesh_mesh_syncs_total',
    'Reconciliations that ended: converged, or the reason why they did not',
    ['reason'],
  );
  const seconds = new Histogram({
    name: 'stigmesh_mesh_sync_seconds',
    help: 'Time from the beginning to the end of a reconciliation',
    buckets: SECONDS,
    registers,
  });
  const statements = counter(
    'stigmesh_mesh_sync_statements_total',
    'Statements that reconciliation sent and brought (kind)',
    ['kind'],
  );
  const offences = counter(
    'stigmesh_mesh_offences_total',
    'Times a peer did not keep to a protocol of the mesh, or sent more than its allowance by gossip, by code',
    ['code'],
  );
  const penalised = counter('stigmesh_mesh_peers_penalised_total', 'Peers that were cut off for a time, by last code', [
    'code',
  ]);
  return {
    admitted: (kind, outcome, count) => admitted.inc({ kind, outcome }, count),
    refused: (code, count) => refused.inc({ code }, count),
    gossip: (outcome, reason) => gossip.inc({ outcome, reason }),
    published: (count) => published.inc(count),
    pushed: (count) => pushed.inc(count),
    gap: () => gaps.inc(),
    synced(reason, took, sent, received) {
      syncs.inc({ reason });
      seconds.observe(took);
      statements.inc({ kind: 'sent' }, sent);
      statements.inc({ kind: 'received' }, received);
    },
    offence: (code) => offences.inc({ code }),
    penalised: (code) => penalised.inc({ code }),
  };
}

/** What a running mesh answers about itself when metrics are read. */
export interface ReadableMesh {
  figures(): {
    readonly sets: number;
    readonly indexed: boolean;
    readonly queues: Readonly<Record<string, number>>;
  };
  activePeers(): number;
  /** The worst of the active peers. */
  worstLag(): PeerLag;
}

/** Gauges that are read from the mesh when somebody asks for metrics. */
export function observeMesh(registry: Registry, mesh: ReadableMesh): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('stigmesh_mesh_active_peers', 'Peers that are connected and declared by both sides', () => mesh.activePeers());
  gauge('stigmesh_mesh_sets', 'Sets of statements that peers may hold', () => mesh.figures().sets);
  gauge('stigmesh_mesh_indexed', '1 once the indexes for reconciliation are loaded, 0 before', () =>
    mesh.figures().indexed ? 1 : 0,
  );
  new Gauge({
    name: 'stigmesh_mesh_queue_length',
    help: 'What waits or is under way in the mesh, by what it is',
    labelNames: ['of'],
    registers,
    collect() {
      for (const [of, length] of Object.entries(mesh.figures().queues)) this.set({ of }, length);
    },
  });
  const lag = (name: string, help: string, read: (lag: PeerLag) => readonly [number | null, number | null]): void => {
    new Gauge({
      name,
      help,
      labelNames: ['kind'],
      registers,
      collect() {
        const [out, inbound] = read(mesh.worstLag());
        this.set({ kind: 'out' }, out ?? 0);
        this.set({ kind: 'in' }, inbound ?? 0);
      },
    });
  };
  lag(
    'stigmesh_mesh_lag_statements',
    'Statements the peer furthest behind lacks of ours (out), and we of theirs (in)',
    (one) => [one.outStatements, one.inStatements],
  );
  lag(
    'stigmesh_mesh_lag_seconds',
    'For how long the peer furthest behind is behind us (out), and we behind one (in)',
    (one) => [one.outSeconds, one.inSeconds],
  );
}
