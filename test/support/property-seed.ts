import fc from 'fast-check';

/**
 * What properties draw is the same in every run: a change must not fail by what it drew. `npm run test:long` draws
 * something else each time; a failure prints its seed.
 */
fc.configureGlobal({ seed: Number(process.env.STIGMESH_PROPERTY_SEED ?? 20261121) });
