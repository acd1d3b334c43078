import type { Command } from 'commander';
import type { z } from 'zod';
import type { cidCheck } from '../../api/schema/facts.ts';
import { SALVAGE_GAP } from '../../node/mend.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { CliError, usage } from '../errors.ts';
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

/** Of a store that was salvaged nobody knows which of its newest numbers were given. */
const NUMBERS_WITHOUT = `sequence numbers without statements: gone, or never given (--quarantine leaves ${SALVAGE_GAP} out)`;

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
  // Damage is listed up to a limit, but all of it is counted.
  const bad = report.statements - report.good;
  const problems = [
    ...report.files.map(({ file, message }) => [file, 'file', message]),
    ...report.damaged.map(({ id, problem, message }) => [id, problem, message]),
    ...report.lost.map(({ from, to }) => [`${from}–${to}`, 'lost', NUMBERS_WITHOUT]),
  ];
  const isGood = problems.length === 0 && bad === 0;
  await out.answer({
    json: { ...report, seconds },
    quiet: isGood ? 'good' : problems.map(([what = '']) => what),
    human: () =>
      isGood
        ? [
            `${out.done} ${counted(report.statements, 'statement')} good: content and signature (${seconds.toFixed(1)} s)`,
          ]
        : out.table([{ title: 'WHAT' }, { title: 'PROBLEM' }, { title: 'MEANING', min: 16 }], problems),
  });
  if (isGood) return;
  const found = [
    report.files.length > 0 ? `${counted(report.files.length, 'file')} of the store damaged` : '',
    report.statements > 0 ? `${bad} of ${counted(report.statements, 'statement')} damaged` : '',
    report.lost.length > 0 ? 'sequence numbers without statements' : '',
    report.quarantined > 0 ? `${report.quarantined} set aside` : '',
    report.records > 0 ? `${counted(report.records, 'other record')} set aside` : '',
    report.salvaged === null ? '' : `the damaged store is kept in ${report.salvaged}`,
  ].filter((part) => part !== '');
  throw damaged(found.join(', '));
}

function damaged(message: string): CliError {
  return new CliError(
    'log_damaged',
    message,
    'import an export or restore a backup, which brings lost statements back; --quarantine sets damaged ones aside; and check the disk',
  );
}
