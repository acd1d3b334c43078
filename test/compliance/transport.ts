import { type Test, TransportCase, type TransportFixture } from './transport-case.ts';
import { connectionCases } from './transport-connections.ts';
import { gossipCases } from './transport-gossip.ts';
import { streamCases } from './transport-streams.ts';

/** What every implementation of {@link Transport} does. */
export function transportCompliance(name: string, create: () => Promise<TransportFixture>): void {
  const test: Test = (title, body) => {
    it(title, async () => {
      const fixture = await create();
      const net = new TransportCase(fixture);
      try {
        await fixture.run(async () => {
          try {
            await body(net);
          } finally {
            await net.stop();
          }
        });
      } finally {
        await fixture.dispose();
      }
    });
  };

  connectionCases(name, test);
  streamCases(name, test);
  gossipCases(name, test);
}
