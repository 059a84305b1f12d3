/** Definitions: the flow of each, how many instances of each version there are, and a form to start one. */
import { get, query as search, write } from "../lib/api.js";
import { forbidden } from "../lib/me.js";
import { useReading, useResource } from "../lib/resource.js";
import { href, instanceHref, route, setQuery } from "../lib/router.js";
import { count, span } from "../lib/text.js";
import { html, useMemo, useState, useTitle } from "../lib/view.js";
import { STATUS_NAMES } from "../lib/words.js";
import { Act } from "../parts/act.js";
import { Empty, Panel, Reading, Status } from "../parts/basics.js";
import { Cases } from "../parts/cases.js";
import { blank, Form, Labelled } from "../parts/form.js";
import { GraphView } from "../parts/graph.js";

const DEFINITIONS = "/v1/definitions";

export function Definitions() {
  useTitle("Definitions");
  const found = useResource(DEFINITIONS, { live: false });
  return html`<div class="head"><h1>Definitions</h1></div>
    <${Reading} of=${found}>${(/** @type {any} */ data) => {
      const newest = data.definitions.filter((/** @type {any} */ each) => each.newest);
      return html`<${Cases} label="Definitions" cases=${newest} id=${(/** @type {any} */ each) => each.name}
            empty=${html`<${Empty} title="No definition is deployed on this API">Name some when it is started: <code>saga api MODULE:SAGA</code>.<//>`} line=${(/** @type {any} */ each) => html`<b>${each.name}</b><span class="soft">version ${each.version}</span>`}>
            ${(/** @type {any} */ each) => html`<${One} definition=${each} versions=${data.definitions.filter((/** @type {any} */ other) => other.name === each.name)} />`}<//>`;
    }}<//>`;
}

/** @param {{definition: any, versions: any[]}} props */
function One({ definition, versions }) {
  const graph = useResource(`${DEFINITIONS}/${encodeURIComponent(definition.name)}/graph?format=json`, { live: false });
  const drawn = useMemo(() => graph.data && JSON.parse(graph.data.text), [graph.data]);
  const denied = forbidden("start");
  const open = route.value.query.act === "start" && !denied;
  return html`
    <p class="row"><button type="button" class="primary" disabled=${Boolean(denied)} title=${denied} onClick=${() => setQuery({ act: "start" }, { step: false })}>Start one</button>
      <a href=${href("instances", [], { definition: definition.name })}>Its instances</a></p>
    <${Panel} title="Flow" note="version ${definition.version}"><${Reading} of=${graph}>${() => html`<${GraphView} graph=${drawn} label="Flow of ${definition.name}" />`}<//><//>
    <${Panel} title="Instances" note="by status"><${Population} name=${definition.name} /><//>
    <${Panel} title="Versions">
      <ul class="plainlist">${versions.map((each) => html`<li><b>version ${each.version}</b>${each.newest && ", the newest"}: <a class="under" href=${href("instances", [], { definition: each.name, version: String(each.version), status: OPEN })}><${Open} definition=${each} /></a> <span class="soft">· an ended instance is kept: ${Object.entries(each.retention_seconds).map(([status, seconds]) => `${status} ${span(Number(seconds) * 1000)}`).join(", ")}${each.archived ? ", then archived" : ""}</span></li>`)}</ul><//>
    <${Panel} title="Verified" note="saga verify, version ${definition.version}"><${Verified} name=${definition.name} /><//>
    ${open && html`<${Start} definition=${definition} close=${() => setQuery({ act: null }, { step: false })} />`}`;
}

/** What `saga verify` says of it. @param {{name: string}} props */
function Verified({ name }) {
  const found = useResource(`${DEFINITIONS}/${encodeURIComponent(name)}/verify`, { live: false });
  return html`<${Reading} of=${found} lines=${2}>${(/** @type {any} */ it) => it.wrong ? html`<p class="soft">Not checked: ${it.wrong}.</p>` : html`<p><strong>${it.findings.length ? count(it.findings.length, "finding") : "It holds."}</strong> <span class="soft">${it.laws.length} laws in ${count(it.states, "state")} of all runs with up to ${it.faults} faults${it.complete ? "" : "; there are more: run saga verify with a higher bound"}.</span></p>
    <ul class="plainlist">${it.findings.map((/** @type {any} */ each) => html`<li><b>${each.law}</b> ${each.message}${each.way.length > 0 && html`<details><summary>A run to it</summary><ol>${each.way.map((/** @type {string} */ move) => html`<li>${move}</li>`)}</ol></details>`}</li>`)}</ul>`}<//>`;
}

const OPEN = "running,compensating,attention";

/** How many of a version have not ended. @param {{definition: any}} props */
function Open({ definition }) {
  const found = useResource(`/v1/instances/count${search([["definition", definition.name], ["version", String(definition.version)], .../** @type {[string, string][]} */ (OPEN.split(",").map((each) => ["status", each]))])}`);
  return found.data ? `${found.data.count.toLocaleString("en")}${found.data.exact ? "" : "+"} open` : "open";
}

/** How many of each status, each with the way to them. @param {{name: string}} props */
function Population({ name }) {
  const found = useReading(`population ${name}`, (signal) => Promise.all(STATUS_NAMES.map(async (status) => ({ status, ...(await get(`/v1/instances/count${search({ definition: name, status })}`, signal)) }))));
  return html`<${Reading} of=${found} lines=${1}>${(/** @type {any[]} */ counts) => {
    const some = counts.filter((each) => each.count > 0);
    return some.length ? html`<ul class="figures">${some.map((each) => html`<li><a href=${href("instances", [], { definition: name, status: each.status })}><b>${each.count.toLocaleString("en")}${each.exact ? "" : "+"}</b><${Status} status=${each.status} /></a></li>`)}</ul>` : html`<p class="soft">None yet.</p>`;
  }}<//>`;
}

/** @param {{definition: any, close: () => void}} props */
function Start({ definition, close }) {
  const [key, setKey] = useState("");
  const [value, setValue] = useState(blank(definition.input));
  return html`<${Act} title="Start ${definition.name}" button="Start" asks=${false} does=${html`<p>The same key with the same input again is the same instance: it is safe to send it twice.</p>`}
    send=${(/** @type {any} */ who) => write("POST", `/v1/sagas/${encodeURIComponent(definition.name)}`, { input: value, key: key || who.request_id })}
    told=${(/** @type {any} */ answer) => html`${answer.created ? "Started: " : "It was there already: "}<a href=${instanceHref(answer.id)}>${answer.key}</a>`} close=${close}>
    <${Labelled} title="Key" hint="The business identity; none: a fresh one is made">${(/** @type {any} */ tied) => html`<input ...${tied} value=${key} maxlength="256" onInput=${(/** @type {any} */ event) => setKey(event.target.value)} />`}<//>
    <${Form} schema=${definition.input} value=${value} onChange=${setValue} /><//>`;
}
