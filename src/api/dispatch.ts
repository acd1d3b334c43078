import { NodeError } from '../node/errors.ts';
import type { Principal } from '../policy/principal.ts';
import { ApiError } from './errors.ts';
import { failureDetails } from './failure.ts';
import type { Allowances } from './http/authenticate.ts';
import type { ApiMetrics } from './metrics.ts';
import { type ApiContext, assertAccess, type Input, type Operation } from './operations/operation.ts';
import { PageGate } from './page-gate.ts';
import { type Place, type ProblemAnswer, problemOf } from './problem.ts';
import type { LineLog, RequestLog } from './request-log.ts';
import { stringify } from './stringify.ts';

/** An answer with its body as JSON text. */
export interface WrittenAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** The one way in which an operation is run, for HTTP and JSON-RPC alike: permission, allowance, handler. */
export class Dispatcher {
  readonly context: ApiContext;
  readonly pages = new PageGate();
  readonly requestLog: RequestLog;
  readonly #allowances: Allowances;
  readonly #metrics: ApiMetrics;

  constructor(context: ApiContext, allowances: Allowances, metrics: ApiMetrics, requestLog: RequestLog) {
    this.context = context;
    this.requestLog = requestLog;
    this.#allowances = allowances;
    this.#metrics = metrics;
  }

  /** Permission and base price, before anything of the request is looked at. */
  enter(who: Principal, { access, rate }: Pick<Operation, 'access' | 'rate'>): void {
    assertAccess(who, access);
    if (rate !== null) this.#allowances.take(who, rate);
  }

  /** Runs an operation that was entered, with checked input. */
  async run(who: Principal, operation: Operation, input: Input): Promise<WrittenAnswer> {
    const cost = operation.cost?.(input) ?? 1;
    if (operation.rate !== null && cost > 1) this.#allowances.take(who, operation.rate, cost, 1);
    const write = async (): Promise<WrittenAnswer> => {
      const {
        body,
        status = operation.status,
        headers = {},
      } = await operation.handler({ ...this.context, who }, input);
      return { status, headers, text: await stringify(body) };
    };
    return operation.paged ? this.pages.run(write) : write();
  }

  /** The answer to an error, counted, and logged when it is our fault. */
  refuse(error: unknown, place: Place, log: LineLog): ProblemAnswer {
    const answer = problemOf(error, place);
    this.#metrics.refusals.inc({ code: answer.problem.code });
    if (error instanceof ApiError && error.code === 'rate_limited') {
      this.#metrics.rateLimited.inc({ dimension: String(error.options.members?.dimension) });
    }
    if (answer.unexpected) this.requestLog.write(log, 'request_failed', failureDetails(error));
    return answer;
  }

  /** Notes a failure that came when the answer had begun: the client sees a broken connection, this is why. */
  brokenOff(error: unknown, log: LineLog): void {
    this.#metrics.refusals.inc({ code: problemOf(error).problem.code });
    this.requestLog.write(log, 'answer_broken', failureDetails(error));
  }
}

/** Refuses what arrives while the daemon stops. */
export function stoppingError(): NodeError {
  return new NodeError('stopping', 'the daemon is stopping', 'try again when it runs');
}
