import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c, masked, readLog, readManifest, snappyDecompress, tableFlaw } from '../../../src/store/level/format.ts';
import { LevelStore } from '../../../src/store/level/level-store.ts';
import { fileDamage, finishSalvage, salvage } from '../../../src/store/level/salvage.ts';
import { logVersions, tableVersions } from '../../../src/store/level/salvage-read.ts';
import type { StoreOp } from '../../../src/store/store.ts';

describe('files of LevelDB', () => {
  let directory: string;
  let location: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'stigmesh-files-'));
    location = join(directory, 'data');
  });

  afterEach(() => rm(directory, { recursive: true }));

  /** Keys of a table that is not derived, so that salvage takes them along. */
  const key = (n: number): Buffer => Buffer.from(`l key ${String(n).padStart(4, '0')}`);
  const value = (n: number): Buffer => Buffer.from(`value ${n} `.repeat(1 + (n % 7) * 40));
  const put = (n: number): StoreOp => ({ type: 'put', key: key(n), value: value(n) });

  async function write(...batches: StoreOp[][]): Promise<void> {
    const store = await LevelStore.open({ location });
    for (const ops of batches) await store.batch(ops, { durable: true });
    await store.close();
  }

  async function read(pattern: RegExp): Promise<{ name: string; bytes: Buffer }> {
    const name = (await readdir(location))
      .filter((one) => pattern.test(one))
      .sort()
      .at(-1)!;
    return { name, bytes: await readFile(join(location, name)) };
  }

  it('have the checksum of RFC 3720, appendix B.4', () => {
    assert.equal(crc32c(Buffer.from('123456789'), 0, 9), 0xe3069283);
    assert.equal(crc32c(Buffer.alloc(32), 0, 32), 0x8a9136aa);
    assert.equal(crc32c(Buffer.alloc(32, 0xff), 0, 32), 0x62a8ab43);
    const rising = Buffer.from(Array.from({ length: 32 }, (_, n) => n));
    assert.equal(crc32c(rising, 0, 32), 0x46dd794e);
    assert.equal(masked(0), 0xa282ead8);
  });

  it('are decompressed as Snappy says, and nonsense is refused', () => {
    // A literal of 4, then a copy of 6 from 4 back (which overlaps), then a long literal.
    assert.equal(
      Buffer.from(snappyDecompress(Buffer.from([10, 0x0c, 97, 98, 99, 100, 0x09, 4]))).toString(),
      'abcdabcdab',
    );
    assert.equal(
      Buffer.from(snappyDecompress(Buffer.from([7, 0x0c, 97, 98, 99, 100, 0x0a, 4, 0]))).toString(),
      'abcdabc',
    );
    const long = Buffer.concat([Buffer.from([200, 1, 60 << 2, 199]), Buffer.alloc(200, 'x')]);
    assert.equal(Buffer.from(snappyDecompress(long)).toString(), 'x'.repeat(200));
    for (const bad of [
      [],
      [4],
      [4, 0x0c, 97],
      [10, 0x09, 4],
      [1, 0x0c, 97, 98, 99, 100],
      [0xff, 0xff, 0xff, 0xff, 0x7f],
    ]) {
      assert.throws(() => snappyDecompress(Buffer.from(bad)), RangeError);
    }
  });

  it('are read whole: a log of small and of huge records, a table, a manifest', async () => {
    const huge: StoreOp = { type: 'put', key: key(5000), value: Buffer.alloc(100_000, 'h') };
    await write([put(1)], [put(2), put(3)], [huge], [{ type: 'del', key: key(2) }]);
    const log = await read(/\.log$/);
    const content = readLog(log.bytes);
    assert.deepEqual([content.records.length, content.flaw, content.tail], [4, undefined, 0]);
    assert.deepEqual(
      [...logVersions(log.bytes)].flat().map(({ key: name, value: bytes }) => [name.toString(), bytes?.length]),
      [
        [key(1).toString(), value(1).length],
        [key(2).toString(), value(2).length],
        [key(3).toString(), value(3).length],
        [key(5000).toString(), 100_000],
        [key(2).toString(), undefined],
      ],
    );
    // Opening turns the log into a table.
    await write([put(9)]);
    const table = await read(/\.ldb$/);
    assert.equal(tableFlaw(table.bytes), undefined);
    const manifest = await read(/^MANIFEST/);
    const { tables } = readManifest(readLog(manifest.bytes).records);
    assert.equal(tables.get(Number.parseInt(table.name, 10)), table.bytes.length);
  });

  it('show every flipped bit of a table that means something', async () => {
    await write(Array.from({ length: 40 }, (_, n) => put(n)));
    await write([]);
    const { bytes } = await read(/\.ldb$/);
    const handles = bytes.length - 48;
    let unseen = 0;
    for (let at = 0; at < bytes.length; at++) {
      const copy = Buffer.from(bytes);
      copy[at]! ^= 1 << (at % 8);
      if (tableFlaw(copy)) continue;
      assert.ok(at >= handles && at < bytes.length - 8, `byte ${at} of ${bytes.length}`);
      unseen += 1;
    }
    assert.ok(unseen < 40, 'only the padding behind the handles means nothing');
    for (let end = 0; end < bytes.length; end++) assert.ok(tableFlaw(bytes.subarray(0, end)), `cut at ${end}`);
  });

  it('show every flipped bit of a log: as damage, or as an end that cannot be read', async () => {
    await write([put(1)], [put(2)], [put(3)]);
    const { bytes } = await read(/\.log$/);
    const whole = readLog(bytes).records.length;
    for (let at = 0; at < bytes.length; at++) {
      const copy = Buffer.from(bytes);
      copy[at]! ^= 1 << (at % 8);
      const { records, flaw, tail } = readLog(copy);
      assert.ok(records.length < whole && (flaw !== undefined || tail > 0), `byte ${at}`);
    }
    for (let end = 0; end < bytes.length; end++) {
      const { flaw, isTorn } = readLog(bytes.subarray(0, end));
      assert.ok(flaw === undefined && isTorn, `a log that ends at ${end} is a log whose last write was interrupted`);
    }
  });

  it('are salvaged: the newest whole version of each key, from tables with and without an index, and from the log', async () => {
    await write(Array.from({ length: 300 }, (_, n) => put(n)));
    await write([put(1000), { type: 'del', key: key(7) }, { type: 'put', key: key(8), value: Buffer.from('newer') }]);
    const table = await read(/\.ldb$/);
    const all = [...tableVersions(table.bytes)].flat().length;
    assert.equal(all, 300);
    const cut = table.bytes.subarray(0, table.bytes.length - 60);
    const rest = [...tableVersions(cut)].flat().length;
    assert.equal(rest, 300, 'blocks are found without the footer');

    const broken = Buffer.from(table.bytes);
    broken[10]! ^= 1;
    await writeFile(join(location, table.name), broken);
    assert.deepEqual(
      (await fileDamage(location)).map(({ file }) => file),
      [table.name],
    );
    const aside = await salvage(location, Date.UTC(2026, 0, 1));
    assert.ok((await readdir(aside)).includes(table.name));
    assert.deepEqual(await fileDamage(location), []);
    const store = await LevelStore.open({ location, mustExist: true });
    const found = await store.getMany(Array.from({ length: 300 }, (_, n) => key(n)));
    const lost = found.filter((one) => one === undefined).length;
    assert.ok(lost > 1 && lost < 100, `one block is lost, and what was deleted: ${lost}`);
    assert.equal(found[7], undefined);
    assert.equal(found[8]!.toString(), 'newer');
    for (const [n, one] of found.entries()) if (one && n !== 8) assert.deepEqual(one, value(n));
    assert.deepEqual(await store.get(key(1000)), value(1000));
    await store.close();
  });

  it('salvaged and not yet in place, are put there by the next start', async () => {
    await write([put(1)]);
    await rename(location, `${location}.salvaged`);
    await finishSalvage(location);
    await finishSalvage(location);
    const store = await LevelStore.open({ location, mustExist: true });
    assert.deepEqual(await store.get(key(1)), value(1));
    await store.close();
  });

  it('tell an orderly close from a crash', async () => {
    await write([put(1)], [put(2)]);
    const log = await read(/\.log$/);
    // The same cut: after a crash the last write was interrupted; after an orderly close the file is damaged.
    await writeFile(join(location, log.name), log.bytes.subarray(0, -10));
    await assert.rejects(LevelStore.open({ location }), { code: 'store_corrupt' });
    await rm(join(location, 'closed.mark'));
    const store = await LevelStore.open({ location });
    assert.deepEqual([await store.get(key(1)), await store.get(key(2))], [value(1), undefined]);
    await store.close();
    // A mark that is itself damaged says nothing, and a wrong one is never believed over a right store.
    const mark = await readFile(join(location, 'closed.mark'));
    mark[mark.length - 5]! ^= 1;
    await writeFile(join(location, 'closed.mark'), mark);
    await (await LevelStore.open({ location })).close();
  });
});
