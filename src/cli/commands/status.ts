import type { Command } from 'commander';
import type { z } from 'zod';
import type { nodeStatus } from '../../api/schema/records.ts';
import type { Cli } from '../cli.ts';
import { CliError } from '../errors.ts';
import { lagText } from '../peer-text.ts';
import { findHolder } from '../running.ts';
import type { Session } from '../session.ts';
import { byteCount, counted, duration } from '../text.ts';

type NodeStatus = z.output<typeof nodeStatus>;

export function define(command: Command, cli: Cli): void {
  command
    .description('Show what the daemon is and holds, and where everything lies. Exit code 3 when it does not run.')
    .action(
      cli.action(async (session) => {
        const { out } = session;
        const client = await session.client();
        let status: NodeStatus;
        try {
          status = await client.get<NodeStatus>('/v1/status');
        } catch (error) {
          if (error instanceof CliError && error.code === 'daemon_not_running' && !out.json && !out.quiet) {
            await out.lines(out.record(places(session)));
          }
          throw error;
        }
        const holder = await findHolder(session.paths, session.holderWorld);
        const isOfThisHome = holder?.url === client.url;
        await out.answer({
          json: { ...status, url: client.url, pid: isOfThisHome ? holder.pid : null, paths: session.paths },
          quiet: status.status,
          human: () =>
            out.record([
              [
                'daemon',
                `${client.url}  stigmesh ${status.version}${isOfThisHome ? `  pid ${holder.pid} since ${holder.since}` : ''}`,
              ],
              ['node', status.peer_id],
              ['org', `${status.org}  fingerprint ${status.fingerprint}`],
              ['mesh', meshText(status.mesh)],
              ['addresses', status.mesh.addrs.length === 0 ? undefined : status.mesh.addrs],
              ['lag', meshLag(status.mesh)],
              ['facts', factCounts(status)],
              ['last write', status.last_commit_at ?? 'never'],
              ['clock', clock(status)],
              ['store', storeText(status)],
              ['quarantine', quarantineText(status)],
              ['work', work(status)],
              [
                'API',
                `${counted(status.connections, 'connection')}, ${counted(status.sse_clients, 'client')} watching`,
              ],
              ['API keys', apiKeys(status)],
              ['runtime', `up ${duration(status.uptime_s)}, Node ${status.node_version}`],
              ...(isOfThisHome || session.options.url === undefined ? places(session) : []),
            ]),
        });
        if (!out.json) for (const warning of status.warnings) out.warn(warning);
      }),
    );
}

function factCounts(status: NodeStatus): string {
  const conflicts = status.open_conflicts === 0 ? 'no open conflicts' : counted(status.open_conflicts, 'open conflict');
  return `${status.current_facts} current of ${status.facts}, ${counted(status.statements, 'statement')}, ${conflicts}`;
}

function storeText({ status, reason, store_bytes, schema }: NodeStatus): string {
  const size = store_bytes === null ? 'size unknown' : byteCount(store_bytes);
  const state = status === 'ok' ? '' : `, writes REFUSED: ${reason?.message ?? 'no reason given'}`;
  return `${size}, schema ${schema}${state}`;
}

function meshText({ enabled, peers, sets, indexed }: NodeStatus['mesh']): string {
  if (!enabled) return 'off';
  const { active, connected, pending, suspended, expired } = peers;
  const others = Object.entries({ pending, suspended, expired }).filter(([, count]) => count > 0);
  return [
    active === 0 ? 'on, no active peers' : `on, ${connected} of ${counted(active, 'active peer')} connected`,
    ...others.map(([state, count]) => `${count} ${state}`),
    ...(indexed ? [counted(sets, 'set')] : ['indexes LOADING: nothing is reconciled yet']),
  ].join(', ');
}

/** The peer that is furthest behind, and the one we are furthest behind. */
function meshLag({ enabled, lag }: NodeStatus['mesh']): string | undefined {
  const text = lagText(lag);
  return enabled && text !== '' ? text : undefined;
}

/** What is here and in no view, for one reason or the other. */
function quarantineText({ quarantined, untrusted, equivocations }: NodeStatus): string | undefined {
  const parts = [
    ...(quarantined === 0 ? [] : [`${quarantined} damaged, set aside`]),
    ...(untrusted === 0 ? [] : [`${counted(untrusted, 'statement')} of organisations that nobody here trusts`]),
    ...(equivocations === 0 ? [] : [`${counted(equivocations, 'EQUIVOCATION')} seen`]),
  ];
  return parts.length === 0 ? undefined : parts.join(', ');
}

/** What waits: nothing of it should stay for long. */
function work({ write_queue, recomputations, expiry_overdue_s, lint_jobs }: NodeStatus): string {
  return [
    `${counted(write_queue, 'statement')} queued`,
    ...(recomputations === 0 ? [] : [`${counted(recomputations, 'relation')} to recompute`]),
    ...(expiry_overdue_s === 0 ? [] : [`expiry ${duration(expiry_overdue_s)} late`]),
    ...(lint_jobs === 0 ? [] : [counted(lint_jobs, 'lint job')]),
  ].join(', ');
}

function apiKeys({ auth, api_keys }: NodeStatus): string {
  return auth === 'required' ? `${api_keys} live, required` : 'NOT required: development only';
}

function clock({ hlc, hlc_ahead_ms }: NodeStatus): string {
  if (hlc === null) return 'not read yet';
  return hlc_ahead_ms > 0 ? `HLC ${hlc}, ${hlc_ahead_ms} ms ahead of this machine` : `HLC ${hlc}`;
}

function places(session: Session): (readonly [string, string])[] {
  const { paths } = session;
  return [
    ['config', session.shownPath(paths.configFile)],
    ['API key', session.shownPath(paths.apiKeyFile)],
    ['keys', session.shownPath(paths.keysDir)],
    ['data', session.shownPath(paths.dataDir)],
    ['state', session.shownPath(paths.stateDir)],
  ];
}
