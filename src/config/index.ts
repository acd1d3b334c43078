export { isLoopbackHost } from './checks.ts';
export {
  type ClientEnvironment,
  clientEnvironment,
  defaultAuthority,
  type Surroundings,
  systemSurroundings,
} from './environment.ts';
export { ConfigError, type ConfigErrorCode, type ConfigIssue, type Origin, type SettingSource } from './errors.ts';
export { initialConfig, writeInitialConfig } from './init-file.ts';
export { type ConfigInputs, type LoadedConfig, loadConfig, resolveConfig } from './load.ts';
export { type PathInputs, resolvePaths, type StigmeshPaths } from './paths.ts';
export { CONFIG_VERSION, type Config, configSchema } from './schema.ts';
export { type Passphrase, readPassphrase } from './secrets.ts';
export { OTHER_VARIABLES, type Setting, settings } from './settings.ts';
export { type ConfigRow, configRows, REDACTED } from './show.ts';
