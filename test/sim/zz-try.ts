import { runScenario } from './scenario.ts';
const [from, to] = process.argv.slice(2).map(Number);
for (let seed = from!; seed <= to!; seed++) {
  const t = performance.now();
  try { const r = await runScenario({ seed }); console.log(seed, `${r.nodes}n ${r.orgs}o ev ${r.events} conv ${r.convergedMs|0} w ${r.writes} chk ${r.checked} cmp ${r.compared} ${JSON.stringify(r.faults)} ${r.hash.slice(0,8)} ${(performance.now()-t)|0} ms`); }
  catch (e) { console.log('FAIL', seed, (performance.now()-t)|0, process.argv[4] ? (e as Error).stack : (e as Error).message.slice(0, 600)); }
}
