export { IdentityError, type IdentityErrorCode } from './errors.ts';
export { fingerprint, parseFingerprint } from './fingerprint.ts';
export { type Identity, type IdentityPaths, type InitializedIdentity, initIdentity, loadIdentity } from './identity.ts';
export { createKeyDirectory, createKeyFile, type KeyFileOptions, loadKeyFile } from './key-file.ts';
export { peerIdFromPublicKey, publicKeyFromPeerId, publicKeyObject, rawPublicKey } from './node-key.ts';
