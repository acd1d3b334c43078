/**
 * What other programs can use of Stigmesh without a daemon: the facts themselves. Values, CIDs, statements, signatures
 * and the current view are pure functions, so that anybody can check what a daemon says.
 */

export { verifyIndependently } from './facts/independent-verify.ts';
export * from './facts/index.ts';
export { peerIdFromPublicKey, publicKeyFromPeerId } from './identity/node-key.ts';
