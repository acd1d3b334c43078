import assert from 'node:assert/strict';
import { coverage, faultTable, report, rowOf } from '../../scripts/faults.ts';

describe('fault table', () => {
  it('has each row once, in order, with a name', () => {
    const rows = faultTable();
    assert.deepEqual(
      rows.map(({ row }) => row),
      Array.from({ length: 50 }, (_, at) => at + 1),
    );
    for (const { name, area } of rows) assert.ok(name.length > 10 && area.length > 3);
  });

  it('has a row for every test that names one', function () {
    const known = new Set(faultTable().map(({ row }) => row));
    let suite = this.test!.parent!;
    while (suite.parent) suite = suite.parent;
    const titles: string[] = [];
    suite.eachTest((test) => {
      titles.push(test.title);
    });
    for (const title of titles.filter((one) => /^fault\b/i.test(one) && one !== this.test!.title)) {
      assert.ok(known.has(rowOf(title) ?? 0), `not of the form 'fault N: …' with a row of spec/faults.json: ${title}`);
    }
  });

  it('tells covered rows from open ones', () => {
    const rows = [
      { row: 1, area: 'Disks', name: 'a disk that is full' },
      { row: 2, area: 'Disks', name: 'a disk that is gone' },
      { row: 3, area: 'Clocks', name: 'a clock that stands' },
    ];
    const titles = ['fault 1: refuses', 'fault 1: resumes', 'fault 12: another row', 'no fault 2: at all', 'fault 3:'];
    const covered = coverage(rows, titles);
    assert.deepEqual(
      covered.map(({ tests }) => tests.length),
      [2, 0, 0],
    );
    const lines = report(covered);
    assert.match(lines.join('\n'), /✓ {2}1 {2}2 tests +a disk that is full/);
    assert.match(lines.join('\n'), /2 {2}open +a disk that is gone/);
    assert.equal(lines.at(-1), '1 of 3 rows covered, 2 open');
  });
});
