import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/**
 * Below the ports that Linux (from 32768), macOS and Windows (from 49152) give to whoever asks for any: nobody is given
 * one of these between the look and the use, neither a server at port 0 nor a connection that goes out.
 */
const FIRST = 20_000;
const COUNT = 12_000;

/** TCP ports of loopback that nobody listens on, each once. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  while (servers.length < count) {
    const server = createServer();
    server.listen(FIRST + Math.floor(Math.random() * COUNT), '127.0.0.1');
    // Rejects with the error of a port that is taken.
    if (await once(server, 'listening').catch(() => undefined)) servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) {
    server.close();
    await once(server, 'close');
  }
  return ports;
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}
