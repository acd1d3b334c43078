import type { Command } from 'commander';
import type { z } from 'zod';
import type { provenance, singleFact } from '../../api/schema/facts.ts';
import type { Cli } from '../cli.ts';
import { segment } from '../client.ts';
import { factRecord } from '../fact-text.ts';
import { valueText } from '../values.ts';

type SingleFact = z.output<typeof singleFact>;
type Provenance = z.output<typeof provenance>;

export function define(command: Command, cli: Cli): void {
  command
    .argument('<id>', 'statement CID (bagaaiera…), or fact CID (sha256:…): then its newest statement')
    .option('--provenance', 'also show what it was derived from')
    .addHelpText('after', '\nWith -q, prints the value: off a terminal as it is, with all its line breaks.')
    .action(
      cli.action<{ provenance?: boolean }>(async (session, [id], options) => {
        const { out, world } = session;
        const client = await session.client();
        const path = `/v1/facts/${segment(id as string)}`;
        const fact = await client.get<SingleFact>(path);
        const origin = options.provenance ? await client.get<Provenance>(`${path}/provenance`) : undefined;
        if (out.quiet && !out.json && !world.stdout.isTTY) {
          await out.write(`${valueText(fact.value)}\n`);
          return;
        }
        await out.answer({
          json: origin === undefined ? fact : { ...fact, provenance: origin },
          quiet: valueText(fact.value),
          human: () => [
            ...factRecord(out, fact),
            ...(origin === undefined || origin.derived_from.length === 0 ? [] : ['', ...evidence(out, origin)]),
          ],
        });
        if (origin?.derived_from.length === 0 && !out.json) out.note('derived from nothing');
      }),
    );
}

function evidence(out: Parameters<typeof factRecord>[0], origin: Provenance): string[] {
  return out.table(
    [{ title: 'DERIVED FROM', min: 16 }, { title: 'ENTITY', min: 10 }, { title: 'HERE' }],
    origin.derived_from.map(({ hash, fact_id, entity, exists }) => [
      fact_id ?? hash,
      entity ?? '',
      exists ? 'yes' : 'no',
    ]),
  );
}
