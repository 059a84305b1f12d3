/** Dead letters: grouped by their failure; each can be read, edited, redriven or discarded; a whole group by a plan. */
import { query as search, write } from "../lib/api.js";
import { forbidden } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { href, route, setQuery } from "../lib/router.js";
import { count } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { Act } from "../parts/act.js";
import { Ago, At, Empty, Id, Panel, Reading } from "../parts/basics.js";
import { Bulk } from "../parts/bulk.js";
import { Table } from "../parts/table.js";
import { Bytes, Edit } from "../parts/values.js";

export const GROUPS = "/v1/dead/groups?state=open";
const PAGE = 50;
const STATES = ["open", "redriven", "discarded"];

/** @type {import("../parts/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "id", title: "Letter", cell: (row) => html`<a class="mono" href=${href("dead", [row.id])}>${row.id}</a>` },
  { name: "key", title: "Key", cell: (row) => html`<code>${row.key?.text ?? row.key?.base64 ?? "–"}</code>` },
  { name: "topic", title: "From", cell: (row) => html`<code>${row.topic}</code>${row.group && html` <span class="soft">for ${row.group}</span>`}` },
  { name: "reason", title: "Why", cell: (row) => html`<span class="cut" title=${row.reason}>${row.reason}</span>` },
  { name: "at", title: "Since", cell: (row) => html`<${At} at=${row.at} />` },
  { name: "state", title: "State", cell: (row) => `${row.state}${row.edited ? ", edited" : ""}` },
];

export function Dead() {
  useTitle("Dead letters");
  const { parts } = route.value;
  return parts.length ? html`<${Letter} key=${parts[0]} id=${parts[0]} />` : html`<${Inbox} />`;
}

function Inbox() {
  const { query } = route.value;
  const groups = useResource(GROUPS);
  const state = query.state ?? "open";
  const found = useResource(`/v1/dead${search({ state: state === "all" ? null : state, fingerprint: query.fingerprint, key: query.key, limit: PAGE, cursor: query.cursor })}`);
  const [bulk, setBulk] = useState("");
  return html`<div class="head"><h1>Dead letters</h1>${found.data && html`<span class="meta">${count(found.data.count, "letter")}${query.fingerprint ? " of this failure" : ""}</span>`}
      ${query.fingerprint && state === "open" && html`<span class="acts"><button type="button" disabled=${Boolean(forbidden("operate"))} onClick=${() => setBulk("redrive")}>Redrive all of these</button><button type="button" class="danger-quiet" disabled=${Boolean(forbidden("operate"))} onClick=${() => setBulk("discard")}>Discard all of these</button></span>`}</div>
    <div class="stack">
    <${Panel} title="Failures" note="open letters, alike but for numbers, ids and lines">
      <${Reading} of=${groups} lines=${2}>${(/** @type {any} */ data) =>
        data.groups.length
          ? html`<ul class="plainlist">${data.groups.map((/** @type {any} */ each) => html`<li><button type="button" aria-pressed=${query.fingerprint === each.fingerprint} onClick=${() => setQuery({ fingerprint: query.fingerprint === each.fingerprint ? null : each.fingerprint, cursor: null })}>${count(each.open, "letter")}</button> ${each.reason} <span class="soft">last <${Ago} at=${each.last_at} /></span></li>`)}</ul>`
          : html`<p class="soft">None is open.</p>`}<//><//>
    <div class="chips" role="group" aria-label="State">${[...STATES, "all"].map((each) => html`<button type="button" class="add" aria-pressed=${state === each} onClick=${() => setQuery({ state: each === "open" ? null : each, cursor: null })}>${each}</button>`)}
      ${query.key && html`<span class="chip">Key: ${query.key}<button type="button" aria-label="Remove Key: ${query.key}" onClick=${() => setQuery({ key: null })}>×</button></span>`}</div>
    <section class="panel flush"><${Reading} of=${found} lines=${6}>${(/** @type {any} */ data) =>
      data.letters.length
        ? html`<${Table} label="Dead letters" columns=${COLUMNS} rows=${data.letters} id=${(/** @type {any} */ row) => row.id} open=${(/** @type {any} */ row) => { location.hash = href("dead", [row.id]); }} />
            <p class="pages"><span class="soft">${data.letters.length} of ${count(data.count, "letter")}, newest first</span>${query.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: null })}>Newest</button>`}${data.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: data.cursor })}>Older</button>`}</p>`
        : html`<${Empty} title=${state === "open" ? "No dead letter is open" : "No letter is like this"}>A message that can never be processed comes here, with why and with its bytes.<//>`}<//></section></div>
    ${bulk && html`<${Bulk} title="${bulk === "redrive" ? "Redrive" : "Discard"} all of a failure" what="letter" path="/v1/dead/bulk" body=${{ act: bulk, where: { fingerprint: query.fingerprint, ...(query.key ? { key: query.key } : {}) } }} danger=${bulk === "discard"} close=${() => setBulk("")} />`}`;
}

/** @param {{id: string}} props */
function Letter({ id }) {
  const path = `/v1/dead/${encodeURIComponent(id)}`;
  const found = useResource(path);
  const [open, setOpen] = useState("");
  const close = () => setOpen("");
  return html`<nav class="crumb" aria-label="Where this is"><a href=${href("dead")}>Dead letters</a></nav>
    <${Reading} of=${found}>${(/** @type {any} */ letter) => {
      const value = letter.edited_value ?? letter.value;
      const denied = forbidden("operate") || (letter.state === "open" ? "" : `It is ${letter.state}.`);
      const fixed = denied || (letter.denied ? `${letter.denied.reason}.` : "");
      return html`<div class="head"><h1><${Id} id=${letter.id}>Letter ${letter.id}<//></h1><span class="pill ${letter.state === "open" ? "bad" : "off"}">${letter.state}</span>
          <span class="acts"><button type="button" disabled=${Boolean(fixed)} title=${fixed} onClick=${() => setOpen("redrive")}>Redrive</button><button type="button" disabled=${Boolean(denied)} title=${denied} onClick=${() => setOpen("edit")}>Edit</button><button type="button" class="danger-quiet" disabled=${Boolean(denied)} title=${denied} onClick=${() => setOpen("discard")}>Discard</button></span></div>
        <p class="meta">from <code>${letter.topic}</code>, partition ${letter.partition}, offset ${letter.offset}${letter.group && html`, for <code>${letter.group}</code>`} · dead since <${Ago} at=${letter.at} /></p>
        <div class="why ${letter.state === "open" ? "bad" : "off"}"><p><strong>${letter.reason}</strong> ${letter.state === "open" ? (letter.denied ? `It cannot be redriven: ${letter.denied.reason}.` : "It waits for a person: edit and redrive it, or discard it.") : `It was ${letter.state}${letter.by ? ` by ${letter.by}` : ""}${letter.why ? `: ${letter.why}` : ""}.`}</p>
          ${letter.detail && html`<details><summary>Details</summary><pre tabindex="0">${letter.detail}</pre></details>`}</div>
        <div class="grid"><${Panel} title="Value" note=${letter.edited ? "edited" : ""}><${Bytes} bytes=${value} />${letter.edited_value && html`<details><summary>As it came</summary><${Bytes} bytes=${letter.value} /></details>`}<//>
          <div class="stack second"><${Panel} title="Headers"><dl class="facts"><div><dt>key</dt><dd><code>${letter.key?.text ?? letter.key?.base64 ?? "none"}</code></dd></div>${(letter.edited_headers ?? letter.headers).map((/** @type {any} */ each) => html`<div><dt>${each.name}</dt><dd><code>${each.text ?? each.base64}</code></dd></div>`)}</dl><//>
          <${Panel} title="What was done"><${Done} acts=${letter.acts} /><//></div></div>
        ${open === "redrive" && html`<${Act} title="Redrive ${id}" button="Redrive" needsReason=${false} does=${html`<p>It is put back where it was, once${letter.edited ? ", as it was edited" : ""}. Letters of the same key keep their order.</p>`} send=${(/** @type {any} */ who) => write("POST", `${path}/redrive`, who)} told=${() => "It is redriven."} close=${close} />`}
        ${open === "discard" && html`<${Act} title="Discard ${id}" button="Discard" danger does=${html`<p>It is closed: what it asked for does not happen. It stays readable.</p>`} send=${(/** @type {any} */ who) => write("POST", `${path}/discard`, who)} told=${() => "It is discarded."} close=${close} />`}
        ${open === "edit" && html`<${Edit} title="Edit ${id}" path=${path} value=${value} does="This value is redriven instead of the original, which stays readable." told="It is edited; redrive it next." close=${close} />`}`;
    }}<//>`;
}

/** @param {{acts: any[]}} props */
const Done = ({ acts }) => acts.length ? html`<ul class="plainlist">${acts.map((each) => html`<li><b>${each.act}</b> ${each.by && `by ${each.by}`} <${At} at=${each.at} />${each.reason && `: ${each.reason}`}${each.outcome !== "applied" && ` (${each.outcome})`}</li>`)}</ul>` : html`<p class="soft">Nothing yet.</p>`;
