/** Queues: what waits, for how long, who reads, and the sentence why the first one waits. */
import { useResource } from "../lib/resource.js";
import { count } from "../lib/text.js";
import { html, useTitle } from "../lib/view.js";
import { ICONS } from "../lib/words.js";
import { Ago, Empty, Icon, Reading } from "../parts/basics.js";
import { Table } from "../parts/table.js";

export const QUEUES = "/v1/queues";

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
  return html`<div class="head"><h1>Queues</h1></div>
    ${found.data && stuck(found.data) > 0 && html`<div class="why bad"><p><strong>${count(stuck(found.data), "queue")} ${stuck(found.data) === 1 ? "makes" : "make"} no progress.</strong> What waits there goes on when a worker reads it, and fails at its deadline.</p></div>`}
    <section class="panel flush"><${Reading} of=${found} lines=${8}>${(/** @type {any} */ data) =>
      data.queues.length
        ? html`<${Table} label="Queues" columns=${COLUMNS} rows=${data.queues} id=${(/** @type {any} */ row) => `${row.queue} ${row.lane}`} />`
        : html`<${Empty} title="There is no queue">Deploy a definition with a step, or start a worker.<//>`}<//></section>`;
}
