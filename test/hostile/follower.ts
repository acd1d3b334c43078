import type { Socket } from 'node:net';
import type { RunningDaemon } from '../support/daemon.ts';
import { until } from '../support/until.ts';
import { openSocket } from './support.ts';

/** A follower of /v1/events over a plain socket. */
export class Follower {
  readonly socket: Socket;
  text = '';
  closed = false;

  /** The answer is complete, whatever becomes of its connection. */
  get ended(): boolean {
    return this.closed || this.text.endsWith('\r\n0\r\n\r\n');
  }

  constructor(
    daemon: RunningDaemon,
    options: { query?: string; headers?: Readonly<Record<string, string>>; key?: string; reads?: boolean } = {},
  ) {
    const { query = '', headers = {}, key = daemon.key, reads = true } = options;
    this.socket = openSocket(daemon);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    this.socket.write(
      `GET /v1/events${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${key}\r\n${lines.join('')}\r\n`,
    );
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
    });
    if (reads) {
      this.socket.on('data', (data) => {
        this.text += data;
      });
    } else this.socket.pause();
  }

  started(): Promise<void> {
    return until(() => this.text.includes('retry:'), `a stream: ${this.text}`);
  }

  get events(): string[] {
    return [...this.text.matchAll(/^event: (\w+)$/gm)].map(([, name]) => name!);
  }
}
