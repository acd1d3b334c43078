import type { Digest } from '../facts/index.ts';
import { wireSize } from './block.ts';
import { isPeersFault } from './errors.ts';
import type { InboundGate } from './inbound-gate.ts';
import type { Intake } from './intake.ts';
import {
  type Comparison,
  decodePushFrame,
  encodePushAnswer,
  type HeadCounts,
  type Heads,
  type PushFrame,
} from './push-frames.ts';
import type { Scores } from './scores.ts';
import type { FrameStream } from './transport.ts';
import type { PeeringView } from './types.ts';

export interface PushReceiverComponents {
  readonly intake: Pick<Intake, 'admit'>;
  readonly gate: Pick<InboundGate, 'take'>;
  readonly scores: Pick<Scores, 'refuse'>;
  readonly peering: Pick<PeeringView, 'admits'>;
  /** The peer has statements that can be fetched. */
  readonly onHave: (peerId: string, digests: readonly Digest[]) => void;
  /** What the peer holds of what is shared. */
  readonly onHeads: (peerId: string, heads: Heads) => Promise<{ result: Comparison; counts: HeadCounts }>;
}

/**
 * The accepting side of push: one block at a time, admitted and durable before it is acknowledged and the next is read. A
 * peer over its allowance waits here, and with it its window.
 */
export class PushReceiver {
  readonly #components: PushReceiverComponents;
  readonly #streams = new Set<AbortController>();

  constructor(components: PushReceiverComponents) {
    this.#components = components;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Serves one stream until it ends. Never rejects. */
  readonly serve = async (stream: FrameStream): Promise<void> => {
    const stopped = new AbortController();
    this.#streams.add(stopped);
    try {
      for (;;) {
        const bytes = await stream.receive();
        if (bytes === undefined) break;
        await this.#take(stream, decodePushFrame(bytes), stopped.signal);
      }
      await stream.close();
    } catch (error) {
      if (isPeersFault(error)) this.#components.scores.refuse(stream.peerId, error.code);
      stream.abort(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#streams.delete(stopped);
    }
  };

  /** Ends every wait of streams that are served; the streams end with their connections. */
  stop(): void {
    for (const stopped of this.#streams) stopped.abort();
  }

  async #take(stream: FrameStream, frame: PushFrame, signal: AbortSignal): Promise<void> {
    const { peerId } = stream;
    const { intake, gate, peering, onHave, onHeads } = this.#components;
    if (!peering.admits(peerId) || signal.aborted) throw new Error('the peer is no longer active');
    if (frame.type === 'have') {
      // Digests cost a look-up each: a tenth of what a statement costs.
      await gate.take(peerId, Math.ceil(frame.digests.length / 10), frame.digests.length * 32, signal);
      onHave(peerId, frame.digests);
    } else if (frame.type === 'heads') {
      await gate.take(peerId, 1, 0, signal);
      await stream.send(encodePushAnswer({ type: 'compared', ...(await onHeads(peerId, frame.heads)) }));
    } else {
      const { statements } = frame;
      const bytes = statements.reduce((sum, one) => sum + wireSize(one), 0);
      await gate.take(peerId, statements.length, bytes, signal);
      await intake.admit(peerId, 'push', statements, signal);
      await stream.send(encodePushAnswer({ type: 'taken', blocks: 1 }));
    }
  }
}
