/** Queues: what waits, for how long, who reads, and the sentence why the first one waits. */
import { useResource } from "../lib/resource.js";
import { route, setQuery } from "../lib/router.js";
import { forbidden } from "../lib/me.js";
import { count } from "../lib/text.js";
import { html, useTitle } from "../lib/view.js";
import { ICONS } from "../lib/words.js";
import { Ago, Empty, Icon, Reading } from "../parts/basics.js";
import { Labelled } from "../parts/form.js";
import { Table } from "../parts/table.js";
import { Change } from "./tables.js";

export const QUEUES = "/v1/queues";
const LIMITS = "/v1/tables/queue.limits";

/** @type {Record<string, {tone: string, word: string, icon: string}>} */
const WHY = {
  idle: { tone: "ok", word: "Idle", icon: ICONS.check },
  backlog: { tone: "run", word: "Backlog", icon: ICONS.wait },
  limit: { tone: "undo", word: "At its limit", icon: ICONS.bars },
  circuit: { tone: "bad", word: "Circuit open", icon: ICONS.alert },
  "nobody-reads": { tone: "bad", word: "Nobody reads", icon: ICONS.alert },
};
const look = (/** @type {any} */ row) => WHY[row.why] ?? { tone: "off", word: row.why, icon: ICONS.dot };

/** @type {import("../parts/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "queue", title: "Queue", cell: (row) => html`<b class="mono">${row.queue}</b>${row.lane !== "normal" && html` <span class="soft">${row.lane}</span>`}${row.reason && html`<span class="narrow block">${row.reason}</span>`}` },
  { name: "why", title: "State", cell: (row) => html`<span class="pill ${look(row).tone}"><${Icon} path=${look(row).icon} />${look(row).word}</span>` },
  { name: "waiting", title: "Waiting, at most", number: true, cell: (row) => row.waiting.toLocaleString("en") },
  { name: "oldest", title: "Oldest", cell: (row) => html`<${Ago} at=${row.oldest} />` },
  { name: "work", title: "In work", number: true, cell: (row) => row.in_work.toLocaleString("en") },
  { name: "readers", title: "Read by", cell: (row) => (row.workers.length ? told(row.workers) : html`<span class="soft">nobody</span>`) },
  { name: "reason", title: "Why it waits, and what to do", cell: (row) => html`<span class="reason">${row.reason || "–"}</span>`, wide: true },
];

/** @param {string[]} workers one entry for each process */
function told(workers) {
  const names = [...new Set(workers)];
  return names.map((each) => `${each}${workers.filter((other) => other === each).length > 1 ? ` ×${workers.filter((other) => other === each).length}` : ""}`).join(", ");
}

/** The badge of the rail: queues that wait for somebody. @param {any} data */
export const stuck = (data) => data.queues.filter((/** @type {any} */ each) => each.why === "nobody-reads" || each.why === "circuit").length;

export function Queues() {
  useTitle("Queues");
  const found = useResource(QUEUES);
  const limits = useResource(LIMITS);
  const open = route.value.query.act === "limits" && limits.data && !forbidden("operate");
  const setOpen = (/** @type {boolean} */ to) => setQuery({ act: to ? "limits" : null }, { step: false });
  const denied = forbidden("operate") || (limits.data ? "" : "The limits are not read yet.");
  const columns = !limits.data?.rules.length ? COLUMNS : COLUMNS.toSpliced(5, 0, { name: "limit", title: "Limits", cell: (row) => ofQueue(limits.data.rules, row.queue) });
  return html`<div class="head"><h1>Queues</h1><span class="acts"><button type="button" disabled=${Boolean(denied)} title=${denied} onClick=${() => setOpen(true)}>Change the limits</button></span></div>
    ${found.data && stuck(found.data) > 0 && html`<div class="why bad"><p><strong>${count(stuck(found.data), "queue")} ${stuck(found.data) === 1 ? "makes" : "make"} no progress.</strong> What waits there goes on when a worker reads it, and fails at its deadline.</p></div>`}
    <section class="panel flush"><${Reading} of=${found} lines=${8}>${(/** @type {any} */ data) =>
      data.queues.length
        ? html`<${Table} label="Queues" columns=${columns} rows=${data.queues} id=${(/** @type {any} */ row) => `${row.queue} ${row.lane}`} />`
        : html`<${Empty} title="There is no queue">Deploy a definition with a step, or start a worker.<//>`}<//></section>
    ${open && html`<${Change} table=${limits.data} title="Change the limits" does="Every worker follows them within a moment. What is in work goes on." form=${Limits} close=${() => setOpen(false)} />`}`;
}

/** @param {any[]} rules @param {string} queue */
const ofQueue = (rules, queue) => rules.filter((each) => each.when.queue === queue).map((each) => html`<span class="block">${each.to}${each.when.key && ` for ${each.when.key === "*" ? "each key" : each.when.key}`}</span>`);

/** One line for each limit. @param {{rules: any[], onChange: (rules: any[]) => void}} props */
function Limits({ rules, onChange }) {
  const set = (/** @type {number} */ at, /** @type {any} */ rule) => onChange(rules.map((each, index) => (index === at ? rule : each)));
  return html`${rules.map((rule, at) => {
    const kind = "contract" in rule.when ? "contract" : "queue";
    const when = (/** @type {string} */ of, /** @type {string} */ name, /** @type {string} */ key) => set(at, { ...rule, when: { [of]: name, ...(key ? { key } : {}) } });
    const name = String(rule.when[kind] ?? "");
    const key = String(rule.when.key ?? "");
    const text = (/** @type {string} */ title, /** @type {string} */ hint, /** @type {string} */ value, /** @type {(to: string) => void} */ change, needed = true) => html`<${Labelled} title=${title} hint=${hint}>${(/** @type {any} */ tied) => html`<input ...${tied} required=${needed} value=${value} spellcheck=${false} onInput=${(/** @type {any} */ event) => change(event.target.value)} />`}<//>`;
    return html`<fieldset key=${at}><legend>Limit ${at + 1}</legend>
      <${Labelled} title="Of a">${(/** @type {any} */ tied) => html`<select ...${tied} value=${kind} onChange=${(/** @type {any} */ event) => when(event.target.value, name, key)}><option>queue</option><option>contract</option></select>`}<//>
      ${text("Name", `of the ${kind}`, name, (to) => when(kind, to, key))}
      ${text("Limit", "100/s, 100/m or 100/h begin; or “8 at once”", rule.to, (to) => set(at, { ...rule, to }))}
      ${text("Key", "only commands of this key; * each key by itself; empty: all together", key, (to) => when(kind, name, to), false)}
      <p class="row"><button type="button" onClick=${() => onChange(rules.filter((_, index) => index !== at))}>Remove limit ${at + 1}</button></p></fieldset>`;
  })}
  <p class="row"><button type="button" onClick=${() => onChange([...rules, { when: { queue: "" }, to: "" }])}>Add a limit</button></p>`;
}
