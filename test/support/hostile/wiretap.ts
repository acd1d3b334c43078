import { noise } from '@libp2p/noise';

/** Header of a yamux frame: version, type, flags, stream, length (yamux spec). */
const HEADER_BYTES = 12;
const DATA = 0;

type Encrypter = ReturnType<ReturnType<typeof noise>>;
type Secured = Awaited<ReturnType<Encrypter['secureInbound']>>;

/**
 * Hears every byte that reaches one node, once it is decrypted and before anything looks at it: all protocols, those of
 * libp2p itself included. Streams of the muxer are told apart, so that no boundary of a frame hides what is looked for.
 */
export class Wiretap {
  readonly #connections: Tapped[] = [];

  /** Noise that is listened in on. */
  encrypter(): (components: Parameters<ReturnType<typeof noise>>[0]) => Encrypter {
    const create = noise();
    return (components) => {
      const real = create(components);
      const tap = (secured: Secured): Secured => {
        this.#listen(secured.connection);
        return secured;
      };
      return {
        protocol: real.protocol,
        secureInbound: async (connection, options) => tap(await real.secureInbound(connection, options)),
        secureOutbound: async (connection, options) => tap(await real.secureOutbound(connection, options)),
      };
    };
  }

  /** Bytes heard so far. */
  get bytes(): number {
    return this.#connections.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Whether some bytes were heard, in one piece within one stream. */
  heard(what: Uint8Array): boolean {
    const bytes = Buffer.from(what);
    return this.#connections.some((one) => one.heard(bytes));
  }

  clear(): void {
    for (const one of this.#connections) one.clear();
  }

  #listen(connection: Secured['connection']): void {
    const tapped = new Tapped();
    this.#connections.push(tapped);
    const stream = connection as unknown as { dispatchEvent(event: Event): boolean };
    const dispatch = stream.dispatchEvent.bind(stream);
    stream.dispatchEvent = (event) => {
      if (event.type === 'message') {
        const { data } = event as Event & { data: Uint8Array | { subarray(): Uint8Array } };
        tapped.push(data.subarray());
      }
      return dispatch(event);
    };
  }
}

/** One connection: what came, whole, and by stream once the muxer speaks. */
class Tapped {
  readonly #chunks: Buffer[] = [];
  #streams = new Map<number, Buffer[]>();
  #rest: Buffer = Buffer.alloc(0);
  bytes = 0;

  push(chunk: Uint8Array): void {
    const copy = Buffer.from(chunk);
    this.bytes += copy.length;
    this.#chunks.push(copy);
    this.#rest = Buffer.concat([this.#rest, copy]);
    this.#demultiplex();
  }

  heard(what: Buffer): boolean {
    const streams = [...this.#streams.values()].map((chunks) => Buffer.concat(chunks));
    return [Buffer.concat(this.#chunks), ...streams].some((bytes) => bytes.includes(what));
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#streams = new Map();
  }

  #demultiplex(): void {
    // Before the muxer there is a negotiation in text; what is no header of yamux is passed over.
    while (this.#rest.length >= HEADER_BYTES) {
      const [version, type] = this.#rest;
      if (version !== 0 || type! > 3) {
        this.#rest = this.#rest.subarray(1);
        continue;
      }
      const length = type === DATA ? this.#rest.readUInt32BE(8) : 0;
      if (this.#rest.length < HEADER_BYTES + length) return;
      const stream = this.#rest.readUInt32BE(4);
      const chunks = this.#streams.get(stream) ?? [];
      this.#streams.set(stream, chunks);
      chunks.push(this.#rest.subarray(HEADER_BYTES, HEADER_BYTES + length));
      this.#rest = this.#rest.subarray(HEADER_BYTES + length);
    }
  }
}
