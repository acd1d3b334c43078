import { FactError } from '../facts/errors.ts';
import { isManifest, statementId } from '../facts/statement.ts';
import type { Principal } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import type { Store } from '../store/store.ts';
import type { Admission, Arrival, Candidate } from './admission.ts';
import { NodeError } from './errors.ts';
import { PREPARE_SLICE } from './limits.ts';
import { decodeLogRecord } from './records.ts';
import type { ExportedStatement, ImportOutcome } from './types.ts';
import type { Writer } from './writer.ts';

export interface TransferComponents {
  readonly store: Store;
  readonly admission: Admission;
  readonly writer: Writer;
}

const EXPORT_SLICE = 200;
const IMPORT: Arrival = { via: 'import' };

/** The log, out and in. Signatures travel along, and what comes in passes the same door as everything else. */
export class Transfer {
  readonly #components: TransferComponents;

  constructor(components: TransferComponents) {
    this.#components = components;
  }

  /** Every statement in the order it was committed here, of one moment. */
  async *exportStatements(who: Principal): AsyncGenerator<ExportedStatement> {
    assertAdmin(who);
    const snapshot = this.#components.store.snapshot();
    const scan = snapshot.scan(keys.sequenceRange(0, Number.MAX_SAFE_INTEGER));
    try {
      for (;;) {
        const rows = await scan.next(EXPORT_SLICE);
        const digests = rows.map(({ value }) => keys.sequenceDigest(value));
        const records = await snapshot.getMany(digests.map(keys.logKey));
        for (const [at, value] of records.entries()) {
          // A quarantined statement leaves its sequence number behind.
          if (!value) continue;
          const digest = digests[at]!;
          const { bytes, sig } = decodeLogRecord(value, digest);
          yield { id: statementId(digest), bytes, sig };
        }
        if (rows.length < EXPORT_SLICE) return;
      }
    } finally {
      await scan.close();
      await snapshot.close();
    }
  }

  /** Admits each statement, or says why not; one that is refused does not hinder the rest. */
  async importStatements(
    who: Principal,
    statements: readonly Pick<ExportedStatement, 'bytes' | 'sig'>[],
  ): Promise<ImportOutcome[]> {
    assertAdmin(who);
    const { admission, writer } = this.#components;
    const inspected: (Candidate | ImportOutcome)[] = [];
    /** Organisations whose manifests came so far: they say who may speak by the time the rest has its turn. */
    const arriving = new Set<string>();
    const inspect = async ({ bytes, sig }: Pick<ExportedStatement, 'bytes' | 'sig'>): Promise<Candidate> => {
      const encoded = admission.open(bytes, IMPORT);
      if (isManifest(encoded.statement)) arriving.add(encoded.statement.org);
      return admission.inspect(encoded, sig, IMPORT, arriving);
    };
    for (let at = 0; at < statements.length; at += PREPARE_SLICE) {
      const slice = statements.slice(at, at + PREPARE_SLICE);
      inspected.push(...(await Promise.all(slice.map((one) => inspect(one).catch(rejection)))));
    }
    return writer.submit(statements.length, async (group) => {
      const outcomes: ImportOutcome[] = [];
      for (const item of inspected) {
        if ('status' in item) {
          outcomes.push(item);
          continue;
        }
        try {
          const added = await admission.admit(group, item, IMPORT, who);
          outcomes.push({ status: added ? 'accepted' : 'duplicate', id: statementId(item.digest) });
        } catch (error) {
          outcomes.push(rejection(error));
        }
      }
      return outcomes;
    });
  }
}

function rejection(error: unknown): ImportOutcome {
  if (!(error instanceof FactError || error instanceof NodeError)) throw error;
  return { status: 'rejected', code: error.code, message: error.message };
}

function assertAdmin(who: Principal): void {
  if (who.permissions.has('admin')) return;
  throw new NodeError('permission_denied', 'admin permission required', "use a key with permission 'admin'");
}
