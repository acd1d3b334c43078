import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveConfig, resolvePaths } from '../../src/config/index.ts';
import { type HomeOptions, initHome } from '../../src/home.ts';

export interface TestHome {
  readonly directory: string;
  readonly options: HomeOptions;
  /** What the operator was told. */
  readonly notices: string[];
  dispose(): Promise<void>;
}

/** How to open the home in a directory, as the daemon does, without a daemon. */
export function homeOptions(directory: string, notice: (message: string) => void = () => {}): HomeOptions {
  const env = { STIGMESH_HOME: directory, STIGMESH_ORG_AUTHORITY: 'acme.example' };
  return {
    paths: resolvePaths({ env, homedir: directory, cwd: directory }),
    loaded: resolveConfig({ env, hostname: 'test' }),
    env,
    version: '0.0.0-test',
    now: Date.now,
    notice,
  };
}

/** A fresh, initialised home of its own. */
export async function makeHome(parent = tmpdir()): Promise<TestHome> {
  const directory = await mkdtemp(join(parent, 'stigmesh-home-'));
  const notices: string[] = [];
  const options = homeOptions(directory, (message) => notices.push(message));
  await initHome(options);
  return { directory, options, notices, dispose: () => rm(directory, { recursive: true, force: true }) };
}
