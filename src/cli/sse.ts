import { CliError } from './errors.ts';
import { MAX_EVENT_BYTES } from './limits.ts';

/** One server-sent event. */
export interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

/** A heartbeat carries no event, but its id may move on. */
export interface SseState {
  /** Where to resume. */
  lastEventId: string | undefined;
}

/**
 * Events of a stream (WHATWG HTML, section 9.2.6). Keeps `state.lastEventId` as far as whole events went, so that a
 * connection cut in the middle of one resumes before it.
 *
 * @throws CliError `answer_too_large` for an event above MAX_EVENT_BYTES
 */
export async function* readEvents(source: AsyncIterable<Uint8Array>, state: SseState): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let buffer = '';
  let event = '';
  let data: string[] = [];
  let id: string | undefined;
  let size = 0;
  for await (const chunk of source) {
    buffer += decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = buffer.indexOf('\n'); end !== -1; end = buffer.indexOf('\n', start)) {
      const line = buffer.slice(start, end).replace(/\r$/, '');
      start = end + 1;
      if (line === '') {
        if (id !== undefined) state.lastEventId = id;
        if (data.length > 0) yield { event: event === '' ? 'message' : event, data: data.join('\n') };
        [event, data, id, size] = ['', [], undefined, 0];
        continue;
      }
      size += line.length;
      if (size > MAX_EVENT_BYTES) throw tooLarge();
      const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === 'event') event = value;
      else if (name === 'data') data.push(value);
      else if (name === 'id' && !value.includes('\0')) id = value;
    }
    buffer = buffer.slice(start);
    if (size + buffer.length > MAX_EVENT_BYTES) throw tooLarge();
  }
}

function tooLarge(): CliError {
  return new CliError('answer_too_large', 'an event of the stream is larger than events are', 'check --url');
}
