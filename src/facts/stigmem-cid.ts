import { type Digest, sha256 } from './cid.ts';
import type { FactBody } from './statement.ts';
import type { FactValue } from './value.ts';

/**
 * Digest under which the reference implementation (Stigmem 0.9.0a10) knows the same claim: SHA-256 over seven sorted
 * members with Python's float text, although its documents describe the six-member RFC 8785 form. Kept as an alias so
 * that its SDKs find and verify facts. A number's text is `repr` of the parsed double, whatever lexical form was sent.
 */
export function stigmemDigest(body: FactBody): Digest {
  const text = (value: string): string => JSON.stringify(value);
  return sha256(
    `{"confidence":${pythonFloat(body.confidence)},"entity":${text(body.entity)},"relation":${text(body.relation)},` +
      `"scope":${text(body.scope)},"source":${text(body.source)},"value_type":${text(body.value.type)},` +
      `"value_v":${text(encodedValue(body.value))}}`,
  );
}

/** The value as the reference stores it in its text column. */
export function encodedValue(value: FactValue): string {
  switch (value.type) {
    case 'number':
      return pythonFloat(value.v);
    case 'boolean':
      return value.v ? 'true' : 'false';
    case 'null':
      return 'null';
    default:
      return value.v;
  }
}

/**
 * Python's `repr(float)`: the same shortest digits as ECMAScript, but `.0` on integers and the exponent form already
 * below 1e-4 and from 1e16 on, with at least two exponent digits.
 */
export function pythonFloat(x: number): string {
  if (x === 0) return '0.0';
  const [mantissa = '', exponentText = ''] = x.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  if (exponent < 0) {
    // ECMAScript prints 1e-4 … 1e-6 positionally too, so this branch is the shared range.
    return x.toString();
  }
  const text = x.toString();
  return text.includes('.') ? text : `${text}.0`;
}
