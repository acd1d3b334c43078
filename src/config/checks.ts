import { BlockList, isIP } from 'node:net';
import type { ConfigIssue, Origin } from './errors.ts';
import type { Config } from './schema.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether only this machine can reach a listener on `host`. A name other than `localhost` is assumed to be public. */
export function isLoopbackHost(host: string): boolean {
  const address = host.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(address);
  if (family === 0) return address.toLowerCase() === 'localhost';
  return loopback.check(address, family === 4 ? 'ipv4' : 'ipv6');
}

/** Rules about several keys together. */
export function crossChecks(config: Config, origins: ReadonlyMap<string, Origin>): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const report = (code: ConfigIssue['code'], key: string, message: string, hint: string) => {
    const origin = origins.get(key);
    issues.push({ code, key, message, hint, ...(origin === undefined ? {} : { origin }) });
  };
  if (!isLoopbackHost(config.api.host)) {
    if (!config.api.allow_remote) {
      report(
        'config_remote_bind',
        'api.host',
        'other machines could reach this address',
        'use 127.0.0.1; if you mean it, set api.allow_remote = true and put TLS in front of it',
      );
    }
    if (!config.auth.required) {
      report(
        'config_remote_bind',
        'auth.required',
        'without API keys the API is for loopback addresses only',
        'set auth.required = true, or api.host = "127.0.0.1"',
      );
    }
  }
  if (config.identity.passphrase_file !== undefined && config.identity.passphrase_env !== undefined) {
    report(
      'config_invalid_value',
      'identity.passphrase_env',
      'identity.passphrase_file is set as well',
      'keep one of the two',
    );
  }
  return issues;
}

/** Choices that are allowed but that somebody should see at every start. */
export function configWarnings(config: Config, origins: ReadonlyMap<string, Origin>): string[] {
  const warnings: string[] = [];
  if (!isLoopbackHost(config.api.host)) {
    warnings.push(`api.host = "${config.api.host}": other machines can reach the API, and it has no TLS of its own`);
  }
  if (!config.auth.required) {
    warnings.push('auth.required = false: every program on this machine can read and write all facts');
  }
  if (!config.store.sync) {
    warnings.push('store.sync = false: a crash of the machine can lose writes that were acknowledged');
  }
  if (origins.get('org.authority')?.source === 'default') {
    warnings.push(
      `org.authority is not set; "${config.org.authority}" comes from the host name and changes with it (stigmesh init writes it down)`,
    );
  }
  return warnings;
}
