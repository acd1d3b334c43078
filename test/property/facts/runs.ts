import fc from 'fast-check';

/** Runs a property; when it fails, fast-check prints seed, path and the shrunk counter-example, by which to replay it. */
export function check<T>(property: fc.IProperty<T>, numRuns: number): void {
  fc.assert(property, { numRuns, verbose: fc.VerbosityLevel.Verbose });
}

/** The same for a property that takes time. @param examples tried first, in every run: what once failed */
export function checkAsync<T>(
  property: fc.IAsyncProperty<T>,
  numRuns: number,
  examples: readonly T[] = [],
): Promise<void> {
  return fc.assert(property, { numRuns, examples: [...examples], verbose: fc.VerbosityLevel.Verbose });
}

/** Text of whole code points, surrogates excluded, rich in what normalisation touches. */
export const unicode = fc.string({
  unit: fc.oneof(
    { weight: 4, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
    {
      weight: 6,
      arbitrary: fc.constantFrom(
        ...[...'aAeEiIkKcC019%:/?#-_.~ \t\n'],
        '%41',
        '%2f',
        '%C3%A9',
        '%25',
        '//',
        'stigmem:',
        'stigmem://',
        'https://',
        'did:key:',
        'urn:x:',
        '\u0301',
        '\u0327',
        '\u0307',
        '\u0323',
        '\u0338',
        '\u0345',
        '\u0130',
        '\u212a',
        '\u1e9e',
        '\u03a3',
        '\u00a0',
        '\u2028',
        '\u200d',
        '\ufeff',
        '\u1100',
        '\u1161',
        '\u{1f600}',
      ),
    },
  ),
  maxLength: 24,
});
