import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { pino } from 'pino';
import { resolveConfig } from '../../../src/config/index.ts';
import { type Daemon, startDaemon } from '../../../src/daemon.ts';
import { makeHome, type TestHome } from '../../support/home.ts';
import { freePort } from '../../support/ports.ts';

describe('mesh: a daemon with it', () => {
  let home: TestHome;
  let daemon: Daemon | undefined;

  beforeEach(async () => {
    home = await makeHome();
  });
  afterEach(async () => {
    await daemon?.stop();
    daemon = undefined;
    await home.dispose();
  });

  const start = async (flags: Record<string, unknown>): Promise<Daemon> => {
    const { env } = home.options;
    const loaded = resolveConfig({ env, hostname: 'test', flags: { 'api.port': 0, 'mesh.dht': false, ...flags } });
    const { notice: _, ...options } = home.options;
    daemon = await startDaemon({ ...options, loaded, log: pino({ level: 'silent' }) });
    return daemon;
  };
  const taken = async (): Promise<{ server: Server; port: number }> => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, port: (server.address() as { port: number }).port };
  };

  it('says where it listens, and that nobody is declared', async () => {
    const { mesh, fingerprint } = await start({ 'mesh.listen': '/ip4/127.0.0.1/tcp/0' });
    assert.match(mesh, /^listening \/ip4\/127\.0\.0\.1\/tcp\/[1-9]\d* \(noise, yamux\); no peers declared yet$/);
    assert.match(fingerprint, /^[0-9A-Z]{5}(-[0-9A-Z]{5}){3}$/);
  });

  it('is off when it is switched off', async () => {
    const { mesh } = await start({ 'mesh.enabled': false });
    assert.match(mesh, /^off /);
  });

  it('does not start when it cannot listen, says why, and leaves the home to the next one', async () => {
    const { server, port } = await taken();
    try {
      await assert.rejects(
        start({ 'mesh.listen': `/ip4/127.0.0.1/tcp/${port}` }),
        (error: { code: string; message: string; hint: string; cause?: unknown }) => {
          assert.equal(error.code, 'listen_failed');
          assert.match(
            error.message,
            /^cannot listen on \/ip4\/127\.0\.0\.1\/tcp\/\d+: another program uses this port$/,
          );
          assert.equal(error.cause, undefined);
          assert.match(error.hint, /mesh\.listen/);
          return true;
        },
      );
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    await start({ 'mesh.listen': `/ip4/127.0.0.1/tcp/${port}` });
  });

  it('leaves the home and the port to the next one when the API cannot listen', async () => {
    const { server, port } = await taken();
    const listen = `/ip4/127.0.0.1/tcp/${await freePort()}`;
    try {
      await assert.rejects(start({ 'mesh.listen': listen, 'api.port': port }), { code: 'port_in_use' });
    } finally {
      server.close();
    }
    await start({ 'mesh.listen': listen });
  });
});
