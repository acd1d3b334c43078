import type { ServerResponse } from 'node:http';
import { ANONYMOUS } from '../../policy/principal.ts';
import { ApiError } from '../errors.ts';
import { eventFilter, eventKinds } from '../events/filter.ts';
import { type EventSink, EventStream, EventTexts } from '../events/stream.ts';
import { STOP_NOTICE_MS } from '../limits.ts';
import type { ApiMetrics } from '../metrics.ts';
import { eventQuery } from '../operations/index.ts';
import type { ApiContext } from '../operations/operation.ts';
import { fromStrings, validate } from '../schema/input.ts';
import type { Identity } from './authenticate.ts';

export interface EventRequest {
  readonly identity: Identity;
  readonly query: Readonly<Record<string, unknown>>;
  readonly lastEventId: string | undefined;
}

/** The open event streams of one API. */
export class EventStreams {
  readonly #context: ApiContext;
  readonly #metrics: ApiMetrics;
  readonly #open = new Set<EventStream>();
  readonly #texts: EventTexts;

  constructor(context: ApiContext, metrics: ApiMetrics) {
    this.#context = context;
    this.#metrics = metrics;
    this.#texts = new EventTexts(context.init.compatCid);
    context.components.meshEvents?.on((event) => {
      for (const stream of this.#open) stream.notice(event);
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Checks a request to follow; what it returns starts the stream on the response.
   *
   * @throws ApiError `too_many_clients`, `validation_failed`, FactError for a filter that names nothing
   */
  prepare({ identity, query, lastEventId }: EventRequest): (response: ServerResponse) => Promise<void> {
    const { components, init } = this.#context;
    const checked = validate(eventQuery, fromStrings(eventQuery, query), { place: 'query', scopeSentence: true });
    const filter = eventFilter(checked);
    const kinds = eventKinds(checked.events, filter);
    if (this.#open.size >= init.sseClients) {
      throw new ApiError(
        'too_many_clients',
        `${init.sseClients} event streams are open already`,
        'close one, or raise limits.sse_clients',
      );
    }
    const { secret, who } = identity;
    const { timers } = components;
    const principal = () => (secret === undefined ? ANONYMOUS : components.keys.authenticate(secret));
    return async (response) => {
      const stream = new EventStream(
        components,
        {
          filter,
          kinds,
          compatCid: init.compatCid,
          texts: this.#texts,
          principal,
          after: lastEventId ?? checked.after,
        },
        responseSink(response),
        who,
      );
      this.#open.add(stream);
      this.#metrics.sseClients.set(this.#open.size);
      const reason = await stream.run();
      this.#open.delete(stream);
      this.#metrics.sseClients.set(this.#open.size);
      if (reason !== 'client') this.#metrics.sseDropped.inc({ reason });
      if (reason !== 'stopping') return;
      const cancel = timers.after(STOP_NOTICE_MS, () => response.destroy());
      response.once('close', cancel);
    };
  }

  stopAll(): void {
    for (const stream of this.#open) stream.stop();
  }
}

function responseSink(response: ServerResponse): EventSink {
  // A reset connection is a closed one; without a listener it would be an uncaught exception.
  response.on('error', () => response.destroy());
  return {
    write: (text) => response.write(text),
    onDrain: (run) => response.on('drain', run),
    onClose: (run) => response.once('close', run),
    end: () => response.end(),
    destroy: () => response.destroy(),
  };
}
