/** Every way in which a configuration can be refused. */
export type ConfigErrorCode =
  | 'config_unreadable'
  | 'config_syntax'
  | 'config_version'
  | 'config_unknown_key'
  | 'config_invalid_value'
  | 'config_inline_secret'
  | 'config_remote_bind'
  | 'config_secret_unavailable'
  /** Several problems of different kinds; each one is in `issues`. */
  | 'config_invalid';

/** Where a value came from, strongest first. */
export type SettingSource = 'flag' | 'env' | 'file' | 'default';

export interface Origin {
  readonly source: SettingSource;
  /** The variable's name, the file's path, or a few words. */
  readonly detail: string;
}

export interface ConfigIssue {
  readonly code: ConfigErrorCode;
  /** Dotted path (`api.port`) or name of the variable; empty where the whole file is meant. */
  readonly key: string;
  readonly message: string;
  readonly hint: string;
  readonly origin?: Origin;
}

/** A configuration that cannot be used. All its problems are in `issues`; none of them quotes a secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code: ConfigErrorCode;
  readonly hint: string;
  readonly issues: readonly ConfigIssue[];

  /** @param issues at least one */
  constructor(issues: readonly [ConfigIssue, ...ConfigIssue[]], options?: ErrorOptions) {
    super(issues.length === 1 ? describe(issues[0]) : summarize(issues), options);
    this.issues = issues;
    this.code = commonCode(issues);
    this.hint =
      issues.length === 1
        ? issues[0].hint
        : 'correct each of them; `stigmesh config show --origin` lists every key and where its value comes from';
  }
}

/** A leaked secret is the thing to act on first, whatever else is wrong. */
function commonCode(issues: readonly [ConfigIssue, ...ConfigIssue[]]): ConfigErrorCode {
  if (issues.some(({ code }) => code === 'config_inline_secret')) return 'config_inline_secret';
  return issues.every(({ code }) => code === issues[0].code) ? issues[0].code : 'config_invalid';
}

function describe(issue: ConfigIssue): string {
  const key = issue.key === '' ? '' : `${issue.key}: `;
  const origin = issue.origin === undefined || issue.origin.detail === issue.key ? '' : ` (${issue.origin.detail})`;
  return `${key}${issue.message}${origin}`;
}

function summarize(issues: readonly ConfigIssue[]): string {
  const lines = issues.map((issue) => `  - ${describe(issue)}\n    hint: ${issue.hint}`);
  return `${issues.length} problems in the configuration\n${lines.join('\n')}`;
}
