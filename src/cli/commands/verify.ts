import type { Command } from 'commander';
import type { z } from 'zod';
import type { cidCheck } from '../../api/schema/facts.ts';
import { segment } from '../client.ts';
import { CliError, usage } from '../errors.ts';
import type { Cli } from '../program.ts';
import type { Session } from '../session.ts';
import { counted } from '../text.ts';

interface Options {
  readonly quarantine?: boolean;
}

export function define(command: Command, cli: Cli): void {
  command
    .description(
      'Recompute content addresses and signatures. With an id, the daemon checks one fact. Without, every statement of ' +
        'the log is checked by a second, independent implementation of Ed25519; the daemon must not run.',
    )
    .argument('[id]', 'statement CID or fact CID')
    .option('--quarantine', 'set damaged statements aside and rebuild the indexes without them')
    .addHelpText('after', '\nExit code 1 when anything is damaged, also when it has been set aside.')
    .action(
      cli.action<Options>(async (session, [id], options) => {
        if (id === undefined) return verifyLog(session, options.quarantine ?? false);
        if (options.quarantine)
          throw usage('--quarantine is for the whole log', 'stop the daemon and leave the id out');
        return verifyOne(session, id);
      }),
    );
}

async function verifyOne(session: Session, id: string): Promise<undefined> {
  const { out } = session;
  const client = await session.client();
  const check = await client.post<z.output<typeof cidCheck>>(`/v1/facts/${segment(id)}/verify-cid`, {});
  const isGood = check.cid_valid && check.signature_valid;
  await out.answer({
    json: check,
    quiet: isGood ? 'good' : 'damaged',
    human: () =>
      out.record([
        [
          'content',
          check.cid_valid ? `${out.done} good` : `does not match: ${check.mismatch_reason ?? 'unknown reason'}`,
        ],
        ['signature', check.signature_valid ? `${out.done} good` : 'does not fit'],
        ['cid', check.computed_cid],
        ['statement', check.statement_cid],
      ]),
  });
  if (!isGood) throw damaged('the fact is damaged');
}

async function verifyLog(session: Session, quarantine: boolean): Promise<undefined> {
  const { out, world } = session;
  const { verifyHome } = await import('../../daemon.ts');
  const begin = world.uptime();
  const report = await verifyHome({
    ...(await session.homeOptions()),
    quarantine,
    notice: (message) => out.note(message),
    progress: (done) => out.progress(`${done} statements checked`),
  });
  const seconds = (world.uptime() - begin) / 1000;
  const isGood = report.damaged.length === 0;
  await out.answer({
    json: { ...report, seconds },
    quiet: isGood ? 'good' : report.damaged.map(({ id }) => id),
    human: () =>
      isGood
        ? [
            `${out.done} ${counted(report.statements, 'statement')} good: content and signature (${seconds.toFixed(1)} s)`,
          ]
        : out.table(
            [{ title: 'STATEMENT' }, { title: 'PROBLEM' }, { title: 'WHAT', min: 16 }],
            report.damaged.map(({ id, problem, message }) => [id, problem, message]),
          ),
  });
  if (isGood) return;
  const found = `${report.damaged.length} of ${counted(report.statements, 'statement')} damaged`;
  throw damaged(quarantine ? `${found}, ${report.quarantined} set aside` : found);
}

function damaged(message: string): CliError {
  return new CliError(
    'log_damaged',
    message,
    'import an export or restore a backup, which brings lost statements back; --quarantine sets damaged ones aside; and check the disk',
  );
}
