import { statementId } from '../../src/facts/index.ts';
import * as keys from '../../src/store/keys.ts';
import { LevelStore } from '../../src/store/level/level-store.ts';
import { type Entry, forEachSlice } from '../../src/store/store.ts';
import { openTestNode, who } from '../support/test-node.ts';

/** What one store, opened without a look at its tables, had to say. */
export interface ReadReport {
  /** Id, and JSON of statement, sequence number and signature, of every fact that was served. */
  readonly facts: readonly (readonly [string, string])[];
  /** Codes of what was refused. */
  readonly errors: readonly string[];
  /** Files that were found damaged afterwards. */
  readonly damage: readonly string[];
}

/**
 * A process of its own, since LevelDB may abort it: opens one damaged store after the other, reads everything, and
 * prints a line for each.
 */
if (import.meta.main) {
  // Nothing else holds a process that waits for a pause between two files.
  const alive = setInterval(() => {}, 1000);
  for (const location of process.argv.slice(2)) process.stdout.write(`${JSON.stringify(await read(location))}\n`);
  clearInterval(alive);
}

async function read(location: string): Promise<ReadReport> {
  const facts: [string, string][] = [];
  const errors: string[] = [];
  const refused = (error: unknown): void => void errors.push((error as { code?: string }).code ?? String(error));
  const store = await LevelStore.open({ location, checkBytes: 0 });
  const damage = (await store.scrub(new AbortController().signal, 0)).map(({ file }) => file);
  try {
    const { node } = await openTestNode({ store });
    const digests: Buffer[] = [];
    const note = (rows: Entry[]): undefined => {
      for (const { key } of rows) digests.push(Buffer.from(key.subarray(1)));
    };
    await forEachSlice(store, keys.logRange(), note);
    for (const digest of digests) {
      const id = digest.length === keys.DIGEST_BYTES ? statementId(digest) : digest.toString('hex');
      await node.facts.get(who, id).then(({ fact: { id: name, statement, seq, signature } }) => {
        // A resolution is shown as a fact where it is asked for by name, and in no list.
        if (statement.body.relation !== 'stigmem:resolves')
          facts.push([name, JSON.stringify([statement, seq, [...signature]])]);
      }, refused);
    }
    await node.facts.query(who, { limit: 500, include: ['history'] }).catch(refused);
    await node.stop();
  } catch (error) {
    refused(error);
  }
  await store.close();
  return { facts, errors, damage };
}
