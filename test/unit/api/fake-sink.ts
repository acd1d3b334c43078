import type { EventSink } from '../../../src/api/events/stream.ts';

/** A reader that takes what it is told to take. */
export class FakeSink implements EventSink {
  text = '';
  ended = false;
  destroyed = false;
  stuck = false;
  written = 0;
  #drain: (() => void)[] = [];
  #close: (() => void)[] = [];

  write(text: string): boolean {
    this.written += text.length;
    this.text += text;
    return !this.stuck;
  }
  onDrain(run: () => void): void {
    this.#drain.push(run);
  }
  onClose(run: () => void): void {
    this.#close.push(run);
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
  }
  drain(): void {
    this.stuck = false;
    for (const run of this.#drain) run();
  }
  close(): void {
    for (const run of this.#close) run();
  }

  /** What a browser would dispatch: event, id, data. */
  get events(): { event: string; id: number; data: Record<string, unknown> }[] {
    return [...this.text.matchAll(/event: (\w+)\nid: (\d+)\ndata: (.*)\n\n/g)].map(([, event, id, data]) => ({
      event: event!,
      id: Number(id),
      data: JSON.parse(data!) as Record<string, unknown>,
    }));
  }
  get ids(): number[] {
    return this.events.map(({ id }) => id);
  }
}

/** A filter that every commit passes. */
export const NO_FILTER = {
  entity: undefined,
  relation: undefined,
  relationPrefix: undefined,
  scope: undefined,
  source: undefined,
};
