import type { z } from 'zod';
import type { FactRecord, singleFact } from '../api/schema/facts.ts';
import type { Output } from './output.ts';
import { printable, shortId, shortInstant } from './text.ts';
import { valueText } from './values.ts';

/** How facts are shown. The records are the daemon's (`src/api/schema`); nothing here trusts their text. */

type SingleFact = z.output<typeof singleFact>;

/** What a reader must know of a fact beside its value, in a few words. */
export function marks(fact: FactRecord): string {
  const words: string[] = fact.state === 'current' ? [] : [fact.state];
  if (fact.contradicted) words.push('contradicted');
  if (fact.overruled) words.push('overruled');
  if (fact.value.interpret_as === 'instruction') words.push('instruction');
  if (fact.source_revoked) words.push('source revoked');
  return words.join(', ');
}

/** The node that signed it: another organisation's name, or nothing for our own. */
function originText(fact: FactRecord): string {
  return fact.received_from === null ? 'here' : `${fact.org} ${shortId(fact.origin, 6, 4)}`;
}

const when = (fact: FactRecord): string => shortInstant(fact.timestamp);

/** One line a fact. Columns that would say the same in every row of interest are left out where they are empty. */
export function factTable(out: Output, facts: readonly FactRecord[]): string[] {
  if (facts.length === 0) return [];
  const all: readonly { title: string; min?: number; cell: (fact: FactRecord) => string; always?: true }[] = [
    { title: 'ENTITY', min: 10, cell: (fact) => fact.entity, always: true },
    { title: 'RELATION', min: 10, cell: (fact) => fact.relation, always: true },
    { title: 'VALUE', min: 12, cell: (fact) => valueText(fact.value), always: true },
    { title: 'STATE', min: 8, cell: marks },
    { title: 'CONF', cell: (fact) => (fact.confidence === 1 ? '' : String(fact.confidence)) },
    { title: 'SCOPE', cell: (fact) => fact.scope, always: true },
    { title: 'GARDEN', min: 6, cell: (fact) => fact.garden_id?.split('/').at(-1) ?? '' },
    { title: 'SOURCE', min: 8, cell: (fact) => fact.source, always: true },
    { title: 'SIGNED', min: 4, cell: originText, always: true },
    { title: 'STATED', min: 10, cell: when, always: true },
    { title: 'ID', cell: (fact) => (out.width === undefined ? fact.id : shortId(fact.id)), always: true },
  ];
  const columns = all.filter(({ always, cell }) => always || facts.some((fact) => cell(fact) !== ''));
  return out.table(
    columns,
    facts.map((fact) => columns.map(({ cell }) => cell(fact))),
  );
}

/** Everything about one fact, a line a term. */
export function factRecord(out: Output, fact: FactRecord | SingleFact): string[] {
  const mark = marks(fact);
  const claim = 'claim' in fact ? fact.claim : undefined;
  const yes = (text: string, when: boolean) => (when ? text : undefined);
  return out.record([
    ['entity', fact.entity],
    ['relation', fact.relation],
    ['value', typeof fact.value.v === 'string' ? fact.value.v.split('\n') : valueText(fact.value)],
    ['type', fact.value.interpret_as === 'instruction' ? `${fact.value.type} (an instruction)` : fact.value.type],
    ['state', mark === '' ? 'current' : mark],
    ['confidence', String(fact.confidence)],
    ['basis', fact.basis ?? undefined],
    ['scope', fact.scope],
    ['garden', fact.garden_id ?? undefined],
    ['source', fact.source],
    ['signed by', `${fact.origin} (${fact.org})`],
    ['stated', `${fact.timestamp} (HLC ${fact.hlc})`],
    ['received', `${fact.received_at} ${fact.received_from === null ? 'here' : `from ${fact.received_from}`}`],
    ['valid until', fact.valid_until ?? undefined],
    ['supersedes', fact.supersedes.length > 0 ? fact.supersedes : undefined],
    ['derived from', fact.derived_from.length > 0 ? fact.derived_from.map((item) => JSON.stringify(item)) : undefined],
    ['id', fact.id],
    ['cid', fact.cid],
    ['also', fact.cid_aliases],
    ['claim', claim && yes(`made ${claim.statements} times by ${claim.origins} nodes`, claim.statements > 1)],
    ['sequence', String(fact.seq)],
    ['signature', fact.signature],
    ['warnings', fact.warnings.length > 0 ? fact.warnings : undefined],
  ]);
}

/** One line for one committed fact, for people who watch. */
export function factLine(out: Output, fact: FactRecord): string {
  const mark = marks(fact);
  const parts = [
    out.style('dim', printable(when(fact))),
    printable(fact.entity),
    printable(fact.relation),
    out.style('bold', printable(valueText(fact.value))),
    out.style('dim', printable(`${fact.scope} ${fact.source} ${originText(fact)} ${shortId(fact.id)}`)),
  ];
  if (mark !== '') parts.splice(4, 0, out.style('yellow', mark));
  return parts.join('  ');
}
