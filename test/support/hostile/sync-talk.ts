import { randomBytes } from 'node:crypto';
import { SYNC } from '../../../src/mesh/sync-session.ts';
import type { FrameStream } from '../../../src/mesh/transport.ts';
import { setTag } from '../../../src/sync/fingerprint.ts';
import { decodeFrame, encodeFrame, type Frame, type Turn } from '../../../src/sync/frames.ts';
import { encoded } from '../sync-script.ts';
import { until } from '../until.ts';
import type { Rogue, Target } from './rogue.ts';

/** A session of reconciliation that a rogue opened and speaks by hand, over the real stream. */
export class SyncTalk {
  readonly stream: FrameStream;
  readonly #nonce = randomBytes(16);
  #nonces: readonly Uint8Array[] = [];

  private constructor(stream: FrameStream) {
    this.stream = stream;
  }

  /** Opens with a root that differs from any. @returns once the other side said hello, with its first turn */
  static async open(rogue: Rogue, to: Target, accepts = 2 ** 30): Promise<{ talk: SyncTalk; vector: Frame[] }> {
    const talk = new SyncTalk(await rogue.open(to, SYNC));
    await talk.stream.send(encodeFrame({ type: 'hello', nonce: talk.#nonce, root: randomBytes(16), accepts }));
    const welcome = await talk.hear();
    if (welcome?.type !== 'welcome') throw new Error(`heard ${JSON.stringify(welcome)}`);
    talk.#nonces = [talk.#nonce, welcome.nonce];
    return { talk, vector: await talk.turn() };
  }

  /** Opens as soon as there is no other session: there is one at a time, and the last one, or their own, may be ending. */
  static async next(rogue: Rogue, to: Target): ReturnType<typeof SyncTalk.open> {
    let opened: Awaited<ReturnType<typeof SyncTalk.open>> | undefined;
    await until(async () => {
      opened = await SyncTalk.open(rogue, to).catch(() => undefined);
      return opened !== undefined;
    }, `a session of ${rogue.org} with ${to.name}`);
    return opened!;
  }

  tag(name: string): string {
    return setTag(this.#nonces, name);
  }

  async say(...frames: readonly (Frame | Uint8Array)[]): Promise<void> {
    for (const frame of frames) await this.stream.send(frame instanceof Uint8Array ? frame : encoded(frame));
  }

  /** Ends the own turn. */
  async pass(more: Partial<Turn> = {}): Promise<void> {
    const turn = { fin: false, pending: false, truncated: false, changed: false, gone: 0, refused: 0 };
    await this.say({ type: 'turn', ...turn, check: Buffer.alloc(16), ...more });
  }

  /** The next frame; undefined at the end of the stream, however it came. */
  async hear(): Promise<Frame | undefined> {
    const frame = await this.stream.receive().catch(() => undefined);
    return frame && decodeFrame(frame);
  }

  /** Frames up to the end of their turn, or of the session. */
  async turn(): Promise<Frame[]> {
    const frames: Frame[] = [];
    for (;;) {
      const frame = await this.hear();
      if (frame === undefined) return frames;
      frames.push(frame);
      if (frame.type === 'turn' || frame.type === 'stop') return frames;
    }
  }

  end(): void {
    this.stream.abort(new Error('enough'));
  }
}
