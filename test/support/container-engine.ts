import { execFileSync, spawnSync } from 'node:child_process';

/** How long building may take: npm ci on a slow line. */
const BUILD_MS = 600_000;
/** How long fetching an image may take before it counts as out of reach. */
const PULL_MS = 120_000;
const QUICK_MS = 60_000;
/** Looks for a healthy container, this often and that far apart: longer than the start period of the image. */
const HEALTH_LOOKS = 180;
const HEALTH_PAUSE_S = '0.5';

/** What a command of the engine ended with. */
export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A container engine of this machine. Docker and Podman take the same commands, but for what is told apart here. */
export class ContainerEngine {
  readonly #command: 'docker' | 'podman';

  constructor(command: 'docker' | 'podman') {
    this.#command = command;
  }

  static find(): ContainerEngine | undefined {
    for (const command of ['docker', 'podman'] as const) {
      const { status } = spawnSync(command, ['info'], { stdio: 'ignore', timeout: QUICK_MS });
      if (status === 0) return new ContainerEngine(command);
    }
    return undefined;
  }

  /** Whether an image is here, or could be fetched. */
  has(image: string): boolean {
    if (this.run('image', 'inspect', image).status === 0) return true;
    return spawnSync(this.#command, ['pull', '--quiet', image], { stdio: 'ignore', timeout: PULL_MS }).status === 0;
  }

  build(dockerfile: string, tag: string, context: string): void {
    // The format of Open Containers, which Podman prefers, knows no health check.
    const format = this.#command === 'podman' ? ['--format', 'docker'] : [];
    const args = ['build', ...format, '--file', dockerfile, '--tag', tag, '.'];
    execFileSync(this.#command, args, { cwd: context, stdio: ['ignore', 'ignore', 'inherit'], timeout: BUILD_MS });
  }

  run(...args: string[]): Ended {
    return spawnSync(this.#command, args, { encoding: 'utf8', timeout: QUICK_MS });
  }

  /** Standard output of a command that has to succeed. */
  do(...args: string[]): string {
    return execFileSync(this.#command, args, { encoding: 'utf8', timeout: QUICK_MS }).trim();
  }

  /** Whether a container becomes healthy by the check of its image. */
  becomesHealthy(id: string): boolean {
    for (let look = 0; look < HEALTH_LOOKS; look++) {
      if (this.#isHealthy(id)) return true;
      if (this.do('inspect', '--format', '{{.State.Running}}', id) !== 'true') return false;
      spawnSync('sleep', [HEALTH_PAUSE_S]);
    }
    return false;
  }

  #isHealthy(id: string): boolean {
    // Podman leaves it to systemd when to look, which not every machine has.
    if (this.#command === 'podman') return this.run('healthcheck', 'run', id).status === 0;
    return this.do('inspect', '--format', '{{.State.Health.Status}}', id) === 'healthy';
  }
}
