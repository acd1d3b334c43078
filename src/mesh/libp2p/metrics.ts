import { Counter, Gauge, type Registry } from 'prom-client';
import type { TransportFigures } from './transport.ts';

/** Figures of the network, read when somebody asks for metrics. */
export function observeNetwork(registry: Registry, network: { readonly figures: () => TransportFigures }): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: (figures: TransportFigures) => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read(network.figures()));
      },
    });
  };
  const counter = (name: string, help: string, read: (figures: TransportFigures) => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read(network.figures()));
      },
    });
  };
  gauge('stigmesh_network_connections', 'Connections to peers', ({ connections }) => connections);
  gauge(
    'stigmesh_network_half_open_connections',
    'Incoming connections whose handshake is not done',
    ({ halfOpen }) => halfOpen,
  );
  gauge('stigmesh_network_streams', 'Streams that peers have open with us, gossip aside', ({ streams }) => streams);
  gauge('stigmesh_network_gossip_peers', 'Peers that take part in the gossip', ({ gossipPeers }) => gossipPeers);
  gauge('stigmesh_network_gossip_pending', 'Gossip messages under examination', ({ gossipPending }) => gossipPending);
  counter(
    'stigmesh_network_connections_refused_total',
    'Incoming connections refused: too many of one host, or of a denied peer',
    ({ refused }) => refused,
  );
  counter(
    'stigmesh_network_gossip_dropped_total',
    'Gossip messages dropped unseen, because there were too many',
    ({ gossipDropped }) => gossipDropped,
  );
  counter(
    'stigmesh_network_gossip_revived_total',
    'Times a gossip stream that had died was opened again',
    ({ gossipRevived }) => gossipRevived,
  );
  counter(
    'stigmesh_network_misbehaved_total',
    'Connections closed because the peer broke the rules of the network',
    ({ misbehaved }) => misbehaved,
  );
}
