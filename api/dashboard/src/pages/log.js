/** Log: who asked for what, when and why, and what became of it; newest first. */
import { query as search } from "../lib/api.js";
import { useResource } from "../lib/resource.js";
import { instanceHref, route, setQuery } from "../lib/router.js";
import { html, useState, useTitle } from "../lib/view.js";
import { At, Empty, Reading } from "../parts/basics.js";
import { Table } from "../parts/table.js";

const NAMES = { who: "Who", target: "What it is about" };

/** @type {import("../parts/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "at", title: "At", cell: (row) => html`<${At} at=${row.at} />` },
  { name: "who", title: "Who", cell: (row) => row.who || html`<span class="soft">nobody said</span>` },
  { name: "what", title: "What", cell: (row) => html`<b>${row.act}</b>${row.step && html` <code>${row.step}</code>`}` },
  { name: "target", title: "Of", cell: (row) => (row.instance ? html`<a class="mono" href=${instanceHref(row.target)}>${row.target}</a>` : html`<code>${row.target}</code>`) },
  { name: "outcome", title: "Outcome", cell: (row) => html`<span class="pill ${row.code ? "bad" : "ok"}">${row.outcome}</span>` },
  { name: "why", title: "Why", cell: (row) => html`<span class="reason">${[row.why, row.reason].filter(Boolean).join(" · ") || "–"}</span>` },
];

export function Log() {
  useTitle("Log");
  const { query } = route.value;
  const found = useResource(`/v1/operations${search({ who: query.who, target: query.target, limit: 50, cursor: query.cursor })}`);
  return html`<div class="head"><h1>Log</h1><span class="meta">what people and programs asked for</span></div>
    <div class="chips">${Object.entries(NAMES).map(([name, title]) => html`<${Filter} key="${name} ${query[name] ?? ""}" name=${name} title=${title} value=${query[name] ?? ""} />`)}</div>
    <section class="panel flush"><${Reading} of=${found} lines=${8}>${(/** @type {any} */ data) =>
      data.operations.length
        ? html`<${Table} label="Operations" columns=${COLUMNS} rows=${data.operations} id=${(/** @type {any} */ row) => `${row.at} ${row.target} ${row.act} ${row.request_id ?? ""}`} />
          <p class="pages"><span class="soft">newest first</span>${query.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: null })}>First page</button>`}${data.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: data.cursor })}>Next page</button>`}</p>`
        : html`<${Empty} title=${query.who || query.target ? "Nothing is like this" : "Nobody has asked for anything yet"}>Acts, changes of tables and schedules, and what was done with dead letters come here.<//>`}<//></section>`;
}

/** @param {{name: string, title: string, value: string}} props */
function Filter({ name, title, value }) {
  const [text, setText] = useState(value);
  return html`<form class="row" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); setQuery({ [name]: text.trim() || null, cursor: null }); }}>
    <input aria-label=${title} placeholder=${title} value=${text} spellcheck=${false} autocomplete="off" onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></form>`;
}
