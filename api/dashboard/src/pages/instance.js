/** One instance: first why it is as it is and what happens next, then the evidence: flow, timeline, history, state. */
import { get, instancePath } from "../lib/api.js";
import { possible } from "../lib/acts.js";
import { now, reached } from "../lib/feed.js";
import { useReading, useResource } from "../lib/resource.js";
import { href, instanceHref, route, setQuery } from "../lib/router.js";
import { clock, full } from "../lib/text.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/view.js";
import { messageText, sentence, shortCommand, statusLook } from "../lib/words.js";
import { Ago, Empty, Failed, Id, Menu, Panel, Reading, Status } from "../parts/basics.js";
import { GraphView, laid } from "../parts/graph.js";
import { InstanceAct } from "../parts/instance_act.js";
import { Children, Timeline } from "../parts/timeline.js";
import { Json } from "../parts/values.js";

/** So many decisions are read at first, and so many more whenever the reader asks for older ones. */
const PAGE = 500;
/** A flow that is wider than this many pixels gets the whole width of the page. */
const WIDE = 760;

/**
 * The newest decisions, oldest first: what is known stays, and what came since is read behind it.
 * @typedef {{decisions: any[], whole: boolean}} Past
 * @param {string} path @param {Past} known @param {number} wanted at least so many, where there are @param {AbortSignal} signal
 * @returns {Promise<Past>}
 */
async function history(path, known, wanted, signal) {
  let { decisions, whole } = known;
  const page = (/** @type {string} */ rest) => get(`${path}/history?limit=${PAGE}${rest}`, signal);
  for (let more = decisions.length > 0; more; ) {
    const found = await page(`&after=${decisions.at(-1).sequence}`);
    decisions = [...decisions, ...found.decisions];
    more = found.next !== null;
  }
  while (!whole && decisions.length < wanted) {
    const found = await page(`&newest_first=true${decisions.length ? `&after=${decisions[0].sequence}` : ""}`);
    decisions = [...found.decisions.toReversed(), ...decisions];
    whole = found.next === null;
  }
  return { decisions, whole };
}

/** @param {{id: string}} props */
export function Instance({ id }) {
  const path = instancePath(id);
  const found = useReading(`${path} whole`, async (signal) => {
    const [instance, inspection] = await Promise.all([get(path, signal), get(`${path}/inspection`, signal)]);
    reached(id, instance.revision);
    return { instance, inspection };
  }, { of: id });
  const [wanted, want] = useState(PAGE);
  const known = useRef(/** @type {Past} */ ({ decisions: [], whole: false }));
  const past = useReading(`${path} history`, async (signal) => {
    known.current = await history(path, known.current, wanted, signal);
    reached(id, known.current.decisions.at(-1)?.revision ?? 0);
    return known.current;
  }, { of: id });
  useEffect(() => {
    if (wanted > PAGE) past.reload();
  }, [wanted]);
  const graph = useResource(`${path}/graph?format=json`, { of: id });
  const drawn = useMemo(() => graph.data && JSON.parse(graph.data.text), [graph.data]);
  const key = id.slice(id.indexOf("/") + 1);
  useEffect(() => {
    document.title = `${key}${found.data ? `, ${statusLook(found.data.instance.status).word.toLowerCase()}` : ""} · Sagaline`;
  }, [key, found.data?.instance.status]);
  const definition = id.slice(0, id.indexOf("/"));
  const crumb = html`<nav class="crumb" aria-label="Where this is"><a href=${href("instances")}>Instances</a> / <a href=${href("instances", [], { definition })}>${definition}</a></nav>`;
  // One error is enough: the other panels would only repeat it.
  if (found.error && !found.data) return html`${crumb}<div class="head"><h1>${key}</h1></div><${Failed} problem=${found.error} retry=${found.reload} />`;
  return html`${crumb}
    <${Reading} of=${found} lines=${6}>${(/** @type {any} */ data) => html`<${Head} ...${data} />`}<//>
    <div class="grid">
      <div class="stack ${drawn && (laid(drawn)?.graph().width ?? 0) > WIDE ? "all" : ""}"><${Panel} title="Flow" note=${found.data && `this run on version ${found.data.instance.version}`} more=${html`<${Legend} />`}>
        <${Reading} of=${graph} lines=${3}>${() => html`<${GraphView} graph=${drawn} label="Flow of ${id}" steps=${found.data?.instance.steps} />`}<//><//><${Children} of=${id} /></div>
      <div class="stack second">
        <${Panel} title="Timeline" note=${past.data && found.data && spanned(past.data.decisions, found.data.instance)}>
          <${Timeline} of=${id} limit=${Math.min(wanted, 10_000)} /><//>
        <${Panel} title="State" note=${found.data && `after revision ${route.value.query.revision ?? found.data.instance.revision} of ${found.data.instance.revision}`}>
          <${Reading} of=${found}>${(/** @type {any} */ data) => html`<${State} instance=${data.instance} />`}<//><//>
      </div>
      <${Panel} title="History" note=${past.data && !past.data.whole && html`the newest ${past.data.decisions.length} decisions <button type="button" onClick=${() => want(wanted + PAGE)}>Older ones</button>`}>
        <${Reading} of=${past}>${(/** @type {any} */ data) => html`<${Decisions} decisions=${data.decisions} instance=${found.data?.instance} />`}<//><//>
    </div>`;
}

/** @param {any[]} decisions @param {any} instance */
function spanned(decisions, instance) {
  if (!decisions.length) return "";
  return `${clock(decisions[0].at, { ms: false })} to ${instance.finished_at ? clock(instance.finished_at, { ms: false }) : "now"}`;
}

const Legend = () =>
  html`<span class="legend">${[["ok", "done"], ["run", "in work"], ["undo", "to undo"], ["undone", "undone"], ["bad", "failed"], ["off", "not reached"]].map(
    ([tone, word]) => html`<span class="k ${tone}">${word}</span>`,
  )}</span>`;

/** @param {{instance: any, inspection: any}} props */
function Head({ instance, inspection }) {
  const { why, next, tone } = sentence(instance, inspection, now.value);
  const choices = possible(instance, inspection);
  const open = route.value.query.act;
  // A sheet that is open stays: its own act may make it impossible to do it again.
  const held = useRef(/** @type {typeof choices[0] | null} */ (null));
  held.current = choices.find((each) => each.act.name === open && !each.reason) ?? (held.current?.act.name === open ? held.current : null);
  const chosen = held.current;
  return html`
    <div class="head">
      <h1><${Id} id=${instance.id}>${instance.key}<//></h1>
      <${Status} status=${instance.status} paused=${instance.paused} />
      <span class="acts">
        ${choices.filter((each) => each.likely).map((each) => html`<${ActButton} key=${each.act.name} choice=${each} />`)}
        <${Menu} label="More acts" end>${choices.filter((each) => !each.likely).map((each) => html`<${ActButton} key=${each.act.name} choice=${each} described />`)}<//>
      </span>
    </div>
    <p class="meta">version ${instance.version} · started <${Ago} at=${instance.created_at} /> · revision ${instance.revision}
      ${instance.forked_from && html` · forked from <a href=${instanceHref(instance.forked_from)}>${instance.forked_from}</a>`}
      ${instance.deferred_count > 0 && html` · ${instance.deferred_count} messages kept for later`}
      ${instance.trace_id && html` · trace <${Id} id=${instance.trace_id} />`}</p>
    <div class="why ${tone}"><p><strong>${why}</strong> ${next}</p>
      ${instance.warnings.map((/** @type {string} */ each) => html`<p>${each}</p>`)}
      ${(instance.attention ?? instance.cause)?.detail && html`<details><summary>Details</summary><pre tabindex="0">${(instance.attention ?? instance.cause).detail}</pre></details>`}</div>
    ${chosen && html`<${InstanceAct} key=${chosen.act.name} instance=${instance} inspection=${inspection} act=${chosen.act} steps=${chosen.steps} close=${() => setQuery({ act: null }, { step: false })} />`}`;
}

/** @param {{choice: {act: import("../lib/acts.js").ActWords, reason: string}, described?: boolean}} props */
function ActButton({ choice, described = false }) {
  const { reason } = choice;
  return html`<button type="button" data-close class=${choice.act.danger && !described ? "danger-quiet" : ""} disabled=${Boolean(reason)} title=${reason || choice.act.does}
    onClick=${() => setQuery({ act: choice.act.name }, { step: false })}>${choice.act.title}${described && html`<small>${reason || choice.act.does}</small>`}</button>`;
}

/** @param {{decisions: any[], instance: any}} props */
function Decisions({ decisions, instance }) {
  const selected = Number(route.value.query.revision ?? -1);
  const pick = (/** @type {any} */ each) => setQuery({ revision: each.revision === selected ? null : String(each.revision) }, { step: false });
  if (!decisions.length) return html`<${Empty} title="The history is not readable yet">It appears as soon as the first decision is read.<//>`;
  const soon = instance && !instance.finished_at ? instance.timers[0] : null;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="History"><table class="history">
    <thead><tr><th>#</th><th>At</th><th>What came</th><th>What changed</th></tr></thead>
    <tbody>${decisions.map((each) => {
      const came = messageText(each.message);
      const applied = each.outcome === "applied";
      return html`<tr key=${each.sequence} class="${applied ? "" : "late"} ${applied && each.revision === selected ? "cur" : ""}">
        <td>${applied ? html`<button type="button" class="plain number" aria-pressed=${each.revision === selected} title="Mark what it changed in the state" onClick=${() => pick(each)}>${each.revision}</button>` : each.revision}</td>
        <td><time datetime=${each.at} title=${full(each.at)}>${clock(each.at)}</time></td>
        <td>${came.text} ${came.id && html`<code>${came.id}</code>`}</td>
        <td>${applied ? html`<${Changes} decision=${each} />` : html`${each.outcome}: ${each.reason || each.code}`}</td></tr>`;
    })}
    ${soon && html`<tr class="next"><td></td><td>next</td><td>unless something comes before: timer <code>${soon.name}</code></td><td><${Ago} at=${soon.due_at} /></td></tr>`}</tbody>
  </table></div>`;
}

/** @param {{decision: any}} props */
const Changes = ({ decision }) => html`
  ${decision.changes.map((/** @type {any} */ each) => html`<span class="change"><b>${each.what}</b> ${each.before ? `${said(each.before)} → ` : ""}${said(each.after)}</span>`)}
  ${decision.sent.map((/** @type {any} */ each) => html`<span class="change">sent <code>${shortCommand(each.id ?? "")}</code>${each.queue && html` <span class="soft">to ${each.queue}</span>`}</span>`)}
  ${decision.reason && html`<span class="change">${decision.reason}</span>`}`;

/** @param {any} value */
const said = (value) => (typeof value === "string" ? value.replaceAll("_", " ") : JSON.stringify(value));

/** The state after a revision, with the fields marked that this revision has changed. @param {{instance: any}} props */
function State({ instance }) {
  const revision = Number(route.value.query.revision ?? instance.revision);
  const found = useResource(`${instancePath(instance.id)}/revisions/${revision}`, { live: false });
  const show = (/** @type {number} */ to) => setQuery({ revision: to === instance.revision ? null : String(to) }, { step: false });
  return html`<p class="row note"><button type="button" disabled=${revision <= 1} onClick=${() => show(revision - 1)}>Earlier</button>
      <input type="range" min="1" max=${instance.revision} value=${revision} aria-label="Revision" onInput=${(/** @type {any} */ event) => show(Number(event.target.value))} />
      <button type="button" disabled=${revision >= instance.revision} onClick=${() => show(revision + 1)}>Later</button></p>
    ${found.error && revision === instance.revision ? html`<${Json} value=${instance.state} />` : html`<${Reading} of=${found}>${(/** @type {any} */ data) => html`<${After} data=${data} />`}<//>`}`;
}

/** @param {{data: any}} props */
function After({ data }) {
  const marked = fields(data.changed);
  return html`<p class="soft note">${data.changed === null ? "With it the state began." : marked.size ? "What it changed is marked." : "It changed nothing in the state."}</p><${Json} value=${data.instance.state} marked=${marked} />`;
}

/** The fields of the state that a JSON Patch touches. @param {any[] | null} patch */
const fields = (patch) => new Set((patch ?? []).filter((each) => each.path.startsWith("/state/")).map((each) => each.path.split("/")[2].replaceAll("~1", "/").replaceAll("~0", "~")));
