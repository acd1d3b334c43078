import { type FactBody, type FactExt, type FactStatement, isFact, parseCid } from '../facts/index.ts';
import type { Principal } from '../policy/principal.ts';
import * as keys from '../store/keys.ts';
import type { Reader } from '../store/store.ts';
import { ttlTarget } from './admission.ts';
import { NodeError } from './errors.ts';
import { decodeLogRecord, storedStatement } from './records.ts';
import type { GardenService } from './services.ts';

export interface TargetComponents {
  readonly store: Reader;
  readonly gardens: Pick<GardenService, 'assertMayWrite' | 'mayRead' | 'resolve'>;
  /** Authority of this organisation. */
  readonly org: string;
}

/**
 * What a fact says about other statements takes the right to write where those are: a superseded or expired one is gone
 * for everybody. Superseded statements must be here, and this org's own.
 *
 * @throws NodeError `unknown_supersedes`, `foreign_supersedes`, `scope_denied`
 */
export async function assertTargets(
  who: Principal,
  { body, ext }: { readonly body: FactBody; readonly ext: FactExt },
  components: TargetComponents,
): Promise<void> {
  const mortal = body.relation === 'stigmem:ttl' ? ttlTarget(body.entity) : undefined;
  if (mortal !== undefined) await assertMayEnd(who, mortal, components);
  const digests = (ext.supersedes ?? []).map((id) => parseCid(id).digest);
  if (digests.length === 0) return;
  const records = await components.store.getMany(digests.map(keys.logKey));
  records.forEach((record, at) => {
    const id = ext.supersedes![at]!;
    const statement = record && storedStatement(decodeLogRecord(record, digests[at]!));
    // Whoever may not write there is told what everybody is told of what is not here.
    if (!statement || (isFact(statement) && !mayWriteAt(who, statement, components))) {
      throw new NodeError('unknown_supersedes', `supersedes ${id}: no such statement here`, 'use the id of a fact');
    }
    if (!isFact(statement)) {
      throw new NodeError('unknown_supersedes', `supersedes ${id}: not a fact`, 'use the id of a fact');
    }
    if (statement.org !== components.org) {
      throw new NodeError(
        'foreign_supersedes',
        `supersedes ${id}: stated by ${statement.org}, which alone can retire it`,
        'state your own value; the contradiction is recorded and can be resolved',
      );
    }
  });
}

/** The fact that a ttl is about need not be here yet; one that is must be in reach of who sets it. */
async function assertMayEnd(who: Principal, digest: Uint8Array, components: TargetComponents): Promise<void> {
  const record = await components.store.get(keys.logKey(digest));
  const statement = record && storedStatement(decodeLogRecord(record, digest));
  if (!statement || !isFact(statement) || mayWriteAt(who, statement, components)) return;
  throw new NodeError(
    'scope_denied',
    'this key may not write where the fact is that this ttl is about',
    'use a key whose scopes and gardens include it',
  );
}

function mayWriteAt(who: Principal, { body, ext }: FactStatement, { gardens }: TargetComponents): boolean {
  if (!who.scopes.has(body.scope)) return false;
  if (ext.garden_id === undefined) return true;
  try {
    gardens.assertMayWrite(who, gardens.resolve(ext.garden_id));
    return true;
  } catch {
    // A garden that is gone has no writers left but the admins of the node.
    return who.permissions.has('admin') && gardens.mayRead(who, ext.garden_id);
  }
}
