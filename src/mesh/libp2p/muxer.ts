import type { StreamMuxerFactory } from '@libp2p/interface';
import { yamux } from '@libp2p/yamux';
import { MAX_STREAMS, STREAM_WINDOW_BYTES } from '../limits.ts';

/** Of a yamux frame: version, type, flags, stream, length (yamux spec). */
const HEADER_BYTES = 12;
const DATA = 0;

/** What is used of the muxer's inside. */
interface Inside {
  readonly decoder?: {
    readonly buffer: { readonly byteLength: number; subarray(from: number, to: number): Uint8Array };
    readFrame(): unknown;
  };
}

/**
 * Yamux with bounds. It reads the length of a frame, up to 4 GiB, and waits for all of it before it asks whether the window
 * of the stream allows so much: whoever completes a handshake could fill our memory. So the length is looked at first.
 */
export function boundedYamux(): () => StreamMuxerFactory {
  const create = yamux({
    maxInboundStreams: MAX_STREAMS,
    maxOutboundStreams: MAX_STREAMS,
    streamOptions: {
      // Windows grow with use, up to this; what a paused stream may still receive has to fit its buffer.
      maxStreamWindowSize: STREAM_WINDOW_BYTES,
      maxReadBufferLength: 2 * STREAM_WINDOW_BYTES,
    },
  });
  return () => {
    const factory = create();
    const createStreamMuxer = factory.createStreamMuxer.bind(factory);
    factory.createStreamMuxer = (connection) => {
      const muxer = createStreamMuxer(connection);
      boundFrames(muxer as unknown as Inside);
      return muxer;
    };
    return factory;
  };
}

function boundFrames({ decoder }: Inside): void {
  if (!decoder) throw new Error('this release of @libp2p/yamux has no decoder to put a bound on');
  const readFrame = decoder.readFrame.bind(decoder);
  decoder.readFrame = () => {
    const { buffer } = decoder;
    if (buffer.byteLength >= HEADER_BYTES) {
      const header = buffer.subarray(0, HEADER_BYTES);
      const length = new DataView(header.buffer, header.byteOffset, HEADER_BYTES).getUint32(8);
      // The muxer ends the connection for whatever is thrown here.
      if (header[1] === DATA && length > STREAM_WINDOW_BYTES) throw new Error(`a muxer frame of ${length} bytes`);
    }
    return readFrame();
  };
}
