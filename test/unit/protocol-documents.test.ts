import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MAX_STATEMENT_BYTES } from '../../src/facts/limits.ts';
import * as data from '../../src/mesh/data-limits.ts';
import { DECLARE } from '../../src/mesh/declare.ts';
import { FETCH } from '../../src/mesh/fetch.ts';
import { PUSH } from '../../src/mesh/push-frames.ts';
import { SYNC } from '../../src/mesh/sync-session.ts';
import type { Protocol } from '../../src/mesh/transport.ts';
import { FRAME } from '../../src/sync/frames.ts';
import * as sync from '../../src/sync/limits.ts';

/** The documents another implementation is written by say what the code does. */

const PROTOCOLS = join(import.meta.dirname, '../../protocols');
const MiB = 1024 * 1024;

/** A document in one line, its numbers without spaces between their digits. */
function read(path: string): string {
  const text = readFileSync(join(PROTOCOLS, path), 'utf8').replaceAll(/\s+/g, ' ');
  return text.replaceAll(/(?<=\d) (?=\d{3}\b)/g, '');
}

function says(text: string, ...parts: readonly string[]): void {
  for (const part of parts) assert.ok(text.includes(part), `"${part}" is not in it`);
}

describe('documents of the wire protocols', () => {
  for (const [name, { id, maxFrame, maxInboundStreams, idleMs }] of Object.entries({
    declare: DECLARE,
    push: PUSH,
    fetch: FETCH,
    sync: SYNC,
  } satisfies Record<string, Protocol>)) {
    it(`${name}: id, frames, streams and deadline`, () => {
      const text = read(`${name}/README.md`);
      says(text, `| Id | \`${id}\` |`, `at most ${maxFrame / 1024} KiB |`);
      says(text, `at most ${maxInboundStreams} open from one peer |`, `| Deadline | ${idleMs / 1000} s `);
    });
  }

  it('sync: types of frames', () => {
    const text = read('sync/README.md');
    const listed = [...text.matchAll(/\| ([0-9a-f]{2}) \| `(\w+)` \|/g)].map(([, type, name]) => [
      name,
      Number.parseInt(type!, 16),
    ]);
    assert.deepEqual(Object.fromEntries(listed), FRAME);
  });

  it('sync: limits', () => {
    const text = read('sync/README.md');
    says(
      text,
      `at most ${sync.MAX_VECTOR_SETS} in a frame`,
      `at most ${sync.MAX_SET_NAME_BYTES} bytes a name`,
      `varint length (1 to ${MAX_STATEMENT_BYTES})`,
      `varint count (0 to ${sync.MAX_LEAF_IDS})`,
      `\`[a-z_]{1,${sync.MAX_REASON_CHARACTERS}}\``,
      `at most ${sync.MAX_ROUNDS} turns of either side, ${sync.MAX_SESSION_STATEMENT_BYTES / MiB} MiB of statements each way, ${sync.MAX_SESSION_MS / 1000} s`,
    );
  });

  it('sync: when and with whom', () => {
    says(
      read('sync/driver.md'),
      `the other one after ${data.FIRST_SYNC_GRACE_MS / 1000} s`,
      `after ${data.HEADS_GRACE_MS / 1000} s on the other side`,
      `nobody compared anything for ${data.SYNC_FALLBACK_MS / 60_000} min`,
      `goes on after ${data.SYNC_CONTINUE_MS / 1000} s`,
      `${data.MAX_OWN_SESSIONS} of our own and ${data.MAX_INBOUND_SESSIONS} of others`,
      `blocks of at most ${data.MAX_BLOCK_STATEMENTS}`,
      `${data.MAX_REFUSED_DIGESTS} statements a peer`,
      `those younger than ${data.YOUNG_MS / 1000} s are offered`,
      `not within 5 s, 10 s, … ${data.SYNC_BACKOFF_MAX_MS / 60_000} min`,
    );
    assert.equal(data.SYNC_BACKOFF_MS, 5_000);
  });

  it('push and fetch: limits', () => {
    says(
      read('push/README.md'),
      `a block of 1 to ${data.MAX_BLOCK_STATEMENTS} statements`,
      `1 to ${data.MAX_HAVE_DIGESTS} digests`,
      `varint, 1 to ${data.PUSH_WINDOW_BLOCKS}`,
      `At most ${data.PUSH_WINDOW_BLOCKS} blocks or ${data.PUSH_WINDOW_BYTES / MiB} MiB are on their way`,
      `(${data.MAX_OUTBOX_BYTES / MiB} MiB, ${data.MAX_OUTBOX_STATEMENTS} statements)`,
      `(${data.GATE_STATEMENTS_PER_SECOND} statements a second, ${data.GATE_BURST_STATEMENTS} at once; ${data.GATE_BYTES_PER_SECOND / MiB} MiB/s, ${data.GATE_BURST_BYTES / MiB} MiB at once)`,
      `R waits ${data.WANT_DELAY_MS} ms`,
      `a clock reading, ${data.HEADS_SETTLE_MS / 1000} s old`,
      `answered, every ${data.HEADS_INTERVAL_MS / 1000} s`,
    );
    says(
      read('fetch/README.md'),
      `1 to ${data.MAX_FETCH_DIGESTS} digests`,
      `${data.FETCH_TIMEOUT_MS / 1000} s for all of it`,
      `every ${data.FETCH_ANSWER_GRID_MS} ms`,
    );
  });

  it('gossip: limits', () => {
    says(
      read('gossip/README.md'),
      `those of the next ${data.GOSSIP_COALESCE_MS} ms`,
      `up to ${data.MAX_GOSSIP_COALESCE_MS} ms`,
      `above ${data.GOSSIP_STATEMENTS_PER_SECOND} a second (${data.GOSSIP_BURST_STATEMENTS} at once)`,
      `Within ${data.GOSSIP_CHECK_MS / 1000} s, and of at most ${data.MAX_GOSSIP_CHECKS} at a time, ${data.MAX_GOSSIP_CHECKS_OF_PEER} of one peer`,
      `at ${String(data.BAN_SCORE).replace('-', '−')} it is cut off`,
    );
  });
});
