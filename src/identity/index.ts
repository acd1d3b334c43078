export { type AddrClass, classifyAddr, classifyIp, type IpClass, isPrivateAddr, isPrivateIp } from './addr-class.ts';
export {
  type DeclarationInit,
  declaredTerms,
  type ExpectedDeclaration,
  isAddrText,
  isNamespace,
  isNonce,
  isSharedScope,
  type PeerDeclaration,
  SHARED_SCOPES,
  type SharedScope,
  signDeclaration,
  verifyDeclaration,
} from './declaration.ts';
export { IdentityError, type IdentityErrorCode } from './errors.ts';
export { fingerprint, parseFingerprint } from './fingerprint.ts';
export { type Identity, type IdentityPaths, type InitializedIdentity, initIdentity, loadIdentity } from './identity.ts';
export { decodeInvite, encodeInvite, type Invite } from './invite.ts';
export { createKeyDirectory, createKeyFile, type KeyFileOptions, loadKeyFile } from './key-file.ts';
export {
  decodeManifest,
  isManifestExpired,
  type KeyRotation,
  type ManifestNode,
  manifestFingerprint,
  mayName,
  namespacesOf,
  nodeOf,
  type OrgManifest,
  orgKeyOf,
  speaksFor,
  succeeds,
  verifyManifest,
} from './manifest.ts';
export {
  createManifest,
  type ManifestNodeInit,
  type ManifestSigning,
  renewed,
  withMissingRotations,
  withNode,
  withoutNode,
  withoutRevokedNode,
  withRotation,
} from './manifest-edit.ts';
export { isPeerId, peerIdFromPublicKey, publicKeyFromPeerId, publicKeyObject, rawPublicKey } from './node-key.ts';
export { hashSecret, inviterProof, joinProof, type ProofContext, verifyProof } from './proof.ts';
export { loadFormerOrgKeys, type RotatedOrgKey, rotateOrgKey } from './rotation.ts';
