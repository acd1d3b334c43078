import { crc32 } from 'node:zlib';
import { MeshError, streamClosed, streamTimeout } from '../../src/mesh/errors.ts';
import { OPEN_TIMEOUT_MS } from '../../src/mesh/limits.ts';
import type { Connection, FrameStream, Protocol } from '../../src/mesh/transport.ts';
import type { SimNetwork } from './network.ts';
import { SimStream, type StreamMessage } from './stream.ts';
import type { SimTransport } from './transport.ts';

/** Bytes on the wire beside the content: headers of TCP, Noise and the muxer. */
const OVERHEAD_BYTES = 90;

interface Held {
  readonly bytes: number;
  readonly label: string;
  readonly deliver: () => void;
}

/** A connection seen from one of its ends. What it sends arrives in order, late, or, when the connection ends, never. */
export class SimConnectionEnd implements Connection {
  readonly peerId: string;
  readonly outbound: boolean;
  readonly remoteAddr: string;
  readonly local: SimTransport;
  readonly remote: SimTransport;
  readonly #network: SimNetwork;
  #peer!: SimConnectionEnd;
  /** Streams by number; ours are odd when we dialled. */
  readonly #streams = new Map<number, SimStream>();
  /** Who waits for an answer to the stream it opens. */
  readonly #answers = new Map<number, (answer: 'opened' | 'unsupported' | 'lost') => void>();
  readonly #held: Held[] = [];
  #nextStream: number;
  #lastArrival = 0;
  #state: 'opening' | 'open' | 'closed' = 'opening';

  private constructor(network: SimNetwork, local: SimTransport, remote: SimTransport, outbound: boolean) {
    this.#network = network;
    this.local = local;
    this.remote = remote;
    this.peerId = remote.peerId;
    this.outbound = outbound;
    // The port of whoever dialled is any.
    this.remoteAddr = `/ip4/${remote.ip}/tcp/${outbound ? 4701 : 50_000}`;
    this.#nextStream = outbound ? 1 : 2;
  }

  /** Both ends of a new connection; each is opened by its side. */
  static pair(
    network: SimNetwork,
    dialler: SimTransport,
    listener: SimTransport,
  ): [SimConnectionEnd, SimConnectionEnd] {
    const near = new SimConnectionEnd(network, dialler, listener, true);
    const far = new SimConnectionEnd(network, listener, dialler, false);
    near.#peer = far;
    far.#peer = near;
    return [near, far];
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** Whether nothing gets through at the moment, in either direction. */
  get isBlocked(): boolean {
    return this.#network.isBlocked(this.local, this.remote);
  }

  open(): void {
    if (this.#state !== 'opening') return;
    this.#state = 'open';
    this.local.added(this);
  }

  /** Ends it here, and there as soon as word of it arrives. */
  close(why: string): void {
    if (this.#state === 'closed') return;
    this.transmit(0, 'close', () => this.#peer.lose('the other side closed the connection'));
    this.lose(why);
  }

  /** It is gone here; nobody tells the other side. */
  lose(why: string): void {
    if (this.#state === 'closed') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'closed';
    for (const stream of [...this.#streams.values()]) stream.lose(why);
    this.#streams.clear();
    if (wasOpen) this.local.removed(this);
  }

  /** The other side's machine tells that its process is gone, if word of it gets through. */
  refuseFromNowOn(): void {
    this.transmit(0, 'reset', () => this.#peer.lose('the process at the other side is gone'));
    this.#state = 'closed';
    this.#streams.clear();
  }

  /** Power is off: nobody tells anybody. */
  vanish(): void {
    this.#state = 'closed';
    this.#streams.clear();
  }

  /** Sends something to the other end, after everything sent before. */
  transmit(bytes: number, label: string, deliver: () => void): void {
    const path = this.#network.path(this.local, this.remote);
    const arrival = Math.max(this.#lastArrival, this.#network.now + path.delay(bytes + OVERHEAD_BYTES));
    this.#lastArrival = arrival;
    this.#network.schedule(path.name, label, arrival - this.#network.now, () => {
      if (this.#held.length === 0 && !this.isBlocked) {
        deliver();
        return;
      }
      this.#held.push({ bytes, label, deliver });
      this.#network.held.add(this);
    });
  }

  /** The way is free again: what was lost on it is sent again. */
  release(): void {
    if (this.isBlocked) return;
    this.#network.held.delete(this);
    for (const { bytes, label, deliver } of this.#held.splice(0)) this.transmit(bytes, `${label} again`, deliver);
  }

  /** Opens a stream; resolves when the other side agreed to the protocol. */
  openStream(protocol: Protocol): Promise<FrameStream> {
    const id = this.#nextStream;
    this.#nextStream += 2;
    const stream = this.#addStream(id, protocol, () => {});
    return new Promise((resolve, reject) => {
      const world = this.local.world;
      const timer = world.setTimeout(() => {
        stream.abort(new Error('no answer'));
        reject(streamTimeout('the peer did not answer', OPEN_TIMEOUT_MS));
      }, OPEN_TIMEOUT_MS);
      this.#answers.set(id, (answer) => {
        world.clearTimeout(timer);
        this.#answers.delete(id);
        if (answer === 'opened') resolve(stream);
        else if (answer === 'unsupported') {
          stream.lose('the protocol is not served');
          reject(unsupported(protocol.id));
        } else reject(streamClosed('the connection ended'));
      });
      this.transmit(protocol.id.length, `open ${protocol.id}`, () => this.#peer.#opened(id, protocol.id));
    });
  }

  #opened(id: number, protocolId: string): void {
    if (!this.isOpen) return;
    const served = this.local.serves(protocolId);
    const answer = (what: 'opened' | 'unsupported'): void =>
      this.transmit(protocolId.length, what, () => this.#peer.#answers.get(id)?.(what));
    if (!served) {
      answer('unsupported');
      return;
    }
    answer('opened');
    const ticket = served.enter(this.peerId);
    const stream = this.#addStream(id, served.protocol, () => ticket?.leave());
    if (!ticket) stream.abort(new Error('not admitted'));
    else ticket.run(stream);
  }

  #addStream(id: number, protocol: Protocol, ended: () => void): SimStream {
    const stream: SimStream = new SimStream({
      peerId: this.peerId,
      protocol,
      world: this.local.world,
      transmit: (message) => {
        if (this.#state !== 'open') return;
        if (message.type === 'data') {
          this.#network.onFrame?.(this.local.peerId, this.peerId, protocol.id, message.frame);
        }
        this.transmit(sizeOf(message), labelOf(message, id), () => this.#peer.#streams.get(id)?.take(message));
      },
      ended: () => {
        this.#streams.delete(id);
        this.#answers.get(id)?.('lost');
        ended();
      },
    });
    this.#streams.set(id, stream);
    return stream;
  }
}

function sizeOf(message: StreamMessage): number {
  return message.type === 'data' ? message.frame.length + 4 : 0;
}

function labelOf(message: StreamMessage, id: number): string {
  if (message.type === 'data') return `frame ${id} ${message.frame.length} ${crc32(message.frame).toString(16)}`;
  return message.type === 'credit' ? `credit ${id} ${message.bytes}` : `${message.type} ${id}`;
}

function unsupported(protocol: string): MeshError {
  const hint = 'the peer runs another version, or serves less; `stigmesh peers` shows what it is';
  return new MeshError('protocol_unsupported', `the peer does not serve ${protocol}`, hint);
}
