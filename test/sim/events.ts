export interface EventTerms {
  /** Virtual Unix ms. */
  readonly at: number;
  /** Whose event it is: orders the events of one moment. */
  readonly actor: string;
  /** For the trace. */
  readonly label: string;
  readonly run: () => void;
  /** Whether it is something on the network. */
  readonly traffic: boolean;
}

export interface Event extends EventTerms {
  cancel(): void;
}

interface Queued extends Event {
  /** How many events its actor made before. */
  readonly seq: number;
  canceled: boolean;
}

/** A binary heap by (time, actor, number of the actor's event): an order that no scheduling of the machine changes. */
export class EventQueue {
  readonly #heap: Queued[] = [];
  readonly #made = new Map<string, number>();
  #traffic = 0;

  /** Events on the network that are still to come. */
  get traffic(): number {
    return this.#traffic;
  }

  add(terms: EventTerms): Event {
    const seq = this.#made.get(terms.actor) ?? 0;
    this.#made.set(terms.actor, seq + 1);
    const event: Queued = {
      ...terms,
      seq,
      canceled: false,
      cancel: () => {
        if (event.canceled) return;
        event.canceled = true;
        if (event.traffic) this.#traffic--;
      },
    };
    if (terms.traffic) this.#traffic++;
    this.#heap.push(event);
    this.#up(this.#heap.length - 1);
    return event;
  }

  peek(): Event | undefined {
    while (this.#heap[0]?.canceled) this.#pop();
    return this.#heap[0];
  }

  take(): Event | undefined {
    if (!this.peek()) return undefined;
    const event = this.#pop();
    // Cancelling what runs already changes nothing.
    event.canceled = true;
    if (event.traffic) this.#traffic--;
    return event;
  }

  #pop(): Queued {
    const top = this.#heap[0]!;
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#down(0);
    }
    return top;
  }

  #up(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(this.#heap[at]!, this.#heap[parent]!)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(from: number): void {
    let at = from;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#heap.length && isBefore(this.#heap[child]!, this.#heap[least]!)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #swap(a: number, b: number): void {
    [this.#heap[a], this.#heap[b]] = [this.#heap[b]!, this.#heap[a]!];
  }
}

function isBefore(a: Queued, b: Queued): boolean {
  if (a.at !== b.at) return a.at < b.at;
  if (a.actor !== b.actor) return a.actor < b.actor;
  return a.seq < b.seq;
}
