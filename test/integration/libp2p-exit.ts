/**
 * Starts two nodes with everything on, lets them meet, stops them, and prints for how long (ms) the timers are set that
 * keep the process from then on.
 */
import { createHook } from 'node:async_hooks';
import { numberedPeer } from '../support/org.ts';
import { loopbackTransport } from '../support/transport.ts';

const timers = new Set<NodeJS.Timeout>();
createHook({
  init: (_id, type, _trigger, resource) => {
    if (type === 'Timeout') timers.add(resource as NodeJS.Timeout);
  },
}).enable();

const dht = { admits: (): boolean => true, dialsPrivate: true };
const make = (bootstrap: string[]): ReturnType<typeof loopbackTransport> => {
  const transport = loopbackTransport({ discovery: { bootstrap, mdns: true, dht } });
  transport.gossip.onMessage(
    async () => 'accept',
    () => true,
  );
  return transport;
};
const hub = make([]);
await hub.start();
const node = make([hub.addresses()[0]!]);
await node.discovery.provide('acme.example');
await node.start();
while (hub.figures.gossipPeers === 0) await new Promise((resolve) => setTimeout(resolve, 10));
await hub.discovery.find('acme.example');
// One that leads nowhere is still under way when everything stops.
hub.dial(numberedPeer(1), ['/ip4/192.0.2.1/tcp/4701']).catch(() => {});
await Promise.all([hub.stop(), node.stop()]);
type Inside = NodeJS.Timeout & { readonly _destroyed: boolean; readonly _idleTimeout: number };
const left = [...timers].filter((timer) => timer.hasRef() && !(timer as Inside)._destroyed);
console.log(JSON.stringify(left.map((timer) => (timer as Inside)._idleTimeout)));
