/** Log: who asked for what, when and why, and what became of it; and the raw records of every topic. Newest first. */
import { query as search } from "../lib/api.js";
import { useResource } from "../lib/resource.js";
import { href, instanceHref, route, setQuery } from "../lib/router.js";
import { html, useState, useTitle } from "../lib/view.js";
import { At, Empty, Reading } from "../parts/basics.js";
import { Bytes } from "../parts/values.js";
import { forbidden } from "../lib/me.js";
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
  const raw = route.value.parts[0] === "records";
  return html`<div class="head"><h1>Log</h1><span class="meta">${raw ? "what stands in the topics" : "what people and programs asked for"}</span></div>
    <div class="chips" role="group" aria-label="What is shown"><a class="tab" href=${href("log")} aria-current=${raw ? undefined : "page"}>Operations</a><a class="tab" href=${href("log", ["records"])} aria-current=${raw ? "page" : undefined}>Raw records</a></div>
    ${raw ? html`<${Raw} />` : html`<${Operations} />`}`;
}

function Operations() {
  const { query } = route.value;
  const found = useResource(`/v1/operations${search({ who: query.who, target: query.target, limit: 50, cursor: query.cursor })}`);
  return html`<div class="chips">${Object.entries(NAMES).map(([name, title]) => html`<${Filter} key="${name} ${query[name] ?? ""}" name=${name} title=${title} value=${query[name] ?? ""} />`)}</div>
    <section class="panel flush"><${Reading} of=${found} lines=${8}>${(/** @type {any} */ data) =>
      data.operations.length
        ? html`<${Table} label="Operations" columns=${COLUMNS} rows=${data.operations} id=${(/** @type {any} */ row) => `${row.at} ${row.target} ${row.act} ${row.request_id ?? ""}`} />
          <p class="pages"><span class="soft">newest first</span>${query.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: null })}>First page</button>`}${data.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: data.cursor })}>Next page</button>`}</p>`
        : html`<${Empty} title=${query.who || query.target ? "Nothing is like this" : "Nobody has asked for anything yet"}>Acts, changes of tables and schedules, and what was done with dead letters come here.<//>`}<//></section>`;
}

/** @param {{name: string, title: string, value: string}} props */
function Filter({ name, title, value }) {
  const [text, setText] = useState(value);
  return html`<form class="row" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); setQuery({ [name]: text.trim() || null, cursor: null, before: null }); }}>
    <input aria-label=${title} placeholder=${title} value=${text} spellcheck=${false} autocomplete="off" onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></form>`;
}

/** @type {import("../parts/table.js").Column<any>[]} */
const RECORDS = [
  { name: "offset", title: "Offset", number: true, cell: (row) => row.offset },
  { name: "at", title: "At", cell: (row) => html`<${At} at=${row.at} />` },
  { name: "key", title: "Key", cell: (row) => (row.instance ? html`<a class="mono" href=${instanceHref(row.instance)}>${row.key?.text ?? row.instance}</a>` : html`<code>${row.key?.text ?? row.key?.base64 ?? "none"}</code>`) },
  { name: "value", title: "Value", cell: (row) => (row.value ? html`<details><summary>${row.bytes.toLocaleString("en")} bytes</summary><${Bytes} bytes=${row.value} />${row.bytes > 16384 && html`<p class="soft">Only its beginning.</p>`}</details>` : html`<span class="pill off">tombstone</span>`) },
  { name: "headers", title: "Headers", cell: (row) => (row.headers.length ? html`<details><summary>${row.headers.length}</summary><dl class="facts">${row.headers.map((/** @type {any} */ each) => html`<div><dt>${each.name}</dt><dd><code>${each.text ?? each.base64}</code></dd></div>`)}</dl></details>` : "–") },
];

/** The records of one partition of a topic. */
function Raw() {
  const { query } = route.value;
  const denied = forbidden("administer");
  const topics = useResource(denied ? null : "/v1/topics");
  const all = topics.data?.topics ?? [];
  const topic = all.find((/** @type {any} */ each) => each.topic === query.topic) ?? all.find((/** @type {any} */ each) => each.topic.endsWith(".history"));
  const partition = query.partition ?? "0";
  const found = useResource(topic ? `/v1/topics/${encodeURIComponent(topic.topic)}/records${search({ partition, before: query.before, key: query.key, latest: query.latest })}` : null);
  if (denied) return html`<section class="panel"><${Empty} title="Raw records are for administrators">${denied} They hold everything, secrets of webhooks included.<//></section>`;
  const pick = (/** @type {string} */ name) => (/** @type {any} */ event) => setQuery({ before: null, ...(name === "topic" ? { partition: null } : {}), [name]: event.target.value });
  return html`<div class="chips">
      <select aria-label="Topic" value=${topic?.topic} onChange=${pick("topic")}>${all.map((/** @type {any} */ each) => html`<option>${each.topic}</option>`)}</select>
      <select aria-label="Partition" value=${partition} onChange=${pick("partition")}>${(topic?.ends ?? []).map((/** @type {number} */ end, /** @type {number} */ number) => html`<option value=${String(number)}>partition ${number}, up to ${end}</option>`)}</select>
      <${Filter} key="key ${query.key ?? ""}" name="key" title="Key" value=${query.key ?? ""} />
      <label class="check"><input type="checkbox" checked=${query.latest === "true"} onChange=${(/** @type {any} */ event) => setQuery({ before: null, latest: event.target.checked ? "true" : null })} /><span>Latest of each key</span></label></div>
    <section class="panel flush"><${Reading} of=${topics.data ? found : topics} lines=${8}>${(/** @type {any} */ data) => html`
      ${data.records?.length ? html`<${Table} label="Records" columns=${RECORDS} rows=${data.records} id=${(/** @type {any} */ row) => `${row.partition} ${row.offset}`} />` : html`<${Empty} title="No record is here">${data.before ? "There are older ones." : "Choose another partition, or another key."}<//>`}
      <p class="pages"><span class="soft">newest first</span>${query.before && html`<button type="button" onClick=${() => setQuery({ before: null })}>Newest</button>`}${data.before != null && html`<button type="button" onClick=${() => setQuery({ before: String(data.before) })}>Older</button>`}</p>`}<//></section>`;
}
