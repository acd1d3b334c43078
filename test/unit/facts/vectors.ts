import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { FactError } from '../../../src/facts/errors.ts';

export interface Vector {
  readonly id: string;
  readonly description: string;
}

export interface VectorFile<V> {
  readonly description: string;
  readonly spec: string;
  readonly vectors: readonly (V & Vector)[];
}

/** A golden vector file of spec/vectors, which other implementations read as well. */
export function readVectors<V>(name: string): VectorFile<V> {
  const url = new URL(`../../../spec/vectors/${name}.json`, import.meta.url);
  const file = JSON.parse(readFileSync(url, 'utf8')) as VectorFile<V>;
  const ids = file.vectors.map((vector) => vector.id);
  assert.ok(file.description && file.spec && ids.length > 0, `${name} has a head and vectors`);
  assert.equal(new Set(ids).size, ids.length, `ids of ${name} are unique`);
  return file;
}

/** One mocha test per vector. */
export function eachVector<V>(name: string, run: (vector: V & Vector) => void): void {
  for (const vector of readVectors<V>(name).vectors) {
    it(`${vector.id}: ${vector.description}`, () => run(vector));
  }
}

interface Repeated {
  readonly prefix?: string;
  readonly repeat: string;
  readonly times: number;
}

/** Expands `{prefix, repeat, times}`; everything else stands for itself. */
export function expand(input: unknown): unknown {
  if (typeof input !== 'object' || input === null || !('repeat' in input)) return input;
  const { prefix = '', repeat, times } = input as Repeated;
  return prefix + repeat.repeat(times);
}

export function assertCode(run: () => unknown, code: string): void {
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof FactError, `a FactError, not ${String(error)}`);
    assert.equal(error.code, code, error.message);
    assert.notEqual(error.hint, '');
    return true;
  });
}

/** The double of 16 hex digits of its IEEE 754 bits. */
export function double(bits: string): number {
  return Buffer.from(bits, 'hex').readDoubleBE();
}
