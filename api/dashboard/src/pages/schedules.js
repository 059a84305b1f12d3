/** Schedules: the next due times of each, what the last start became, pause, resume and trigger. */
import { write } from "../lib/api.js";
import { now } from "../lib/feed.js";
import { forbidden } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { instanceHref } from "../lib/router.js";
import { count, span } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { ICONS } from "../lib/words.js";
import { Act } from "../parts/act.js";
import { Ago, At, Empty, Icon, Panel, Reading } from "../parts/basics.js";
import { Cases } from "../parts/cases.js";
import { Labelled } from "../parts/form.js";
import { Json } from "../parts/values.js";

const SCHEDULES = "/v1/schedules";
const DOES = {
  pause: "Due times that pass meanwhile start nothing.",
  resume: "It goes on with the next due time from now on.",
  trigger: "One instance is started now, besides the due times.",
  backfill: "An instance is started for each due time of a past period, as if it were due now.",
  delete: "It starts nothing more. What it has started goes on.",
};

const TITLES = { pause: "Pause", resume: "Resume", trigger: "Start one now", backfill: "Backfill", delete: "Delete" };
const ACTS = /** @type {(keyof typeof DOES)[]} */ (Object.keys(DOES));

const rhythm = (/** @type {any} */ each) => (each.cron ? `${each.cron} (${each.zone})` : `every ${span(each.every_seconds * 1000)}`);

export function Schedules() {
  useTitle("Schedules");
  const found = useResource(SCHEDULES);
  return html`<div class="head"><h1>Schedules</h1>${found.data && html`<span class="meta">${count(found.data.schedules.length, "schedule")}${found.data.cursor ? " or more" : ""}</span>`}</div>
    <${Reading} of=${found}>${(/** @type {any} */ data) =>
      html`<${Cases} label="Schedules" cases=${data.schedules} id=${(/** @type {any} */ each) => each.name}
            empty=${html`<${Empty} title="No schedule exists">Put one with <code>saga schedules apply</code> or <code>PUT /v1/schedules/…</code>; it appears here.<//>`}
            line=${(/** @type {any} */ each) => html`<b class="mono">${each.name}</b><span class="soft">${each.definition ?? each.event} · ${rhythm(each)}</span><span>${each.wrong ? each.wrong : each.paused ? "paused" : html`next <${Ago} at=${each.next[0]} />`}</span>`}>
            ${(/** @type {any} */ each) => html`<${One} name=${each.name} />`}<//>`}<//>`;
}

/** @param {{name: string}} props */
function One({ name }) {
  const path = `${SCHEDULES}/${encodeURIComponent(name)}`;
  const found = useResource(path);
  const [open, setOpen] = useState(/** @type {"" | keyof typeof DOES} */ (""));
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const denied = forbidden("operate");
  return html`<${Reading} of=${found}>${(/** @type {any} */ it) => html`
    <div class="why ${it.wrong ? "bad" : it.paused ? "off" : "run"}"><p><strong>${it.wrong || (it.paused ? "It is paused." : html`It starts <code>${it.definition ?? it.event}</code> next <${Ago} at=${it.next[0]} />.`)}</strong>${" "}
        ${count(it.started, "start")} so far, ${it.denied} denied, ${it.missed} missed.</p></div>
    <p class="row">${ACTS.map((act) => {
      const reason = denied || (act === "pause" && it.paused ? "It is paused already." : act === "resume" && !it.paused ? "It is not paused." : "");
      return html`<button type="button" class=${act === "delete" ? "danger-quiet" : ""} disabled=${Boolean(reason)} title=${reason || DOES[act]} onClick=${() => setOpen(act)}>${TITLES[act]}</button>`;
    })}</p>
    <${Panel} title="Next due times" note=${rhythm(it)}>${it.next.length ? html`<${Line} times=${it.next} />` : html`<p class="soft">None while it is paused.</p>`}<//>
    <${Panel} title="Last starts">${it.recent.length
      ? html`<ul class="plainlist">${it.recent.map((/** @type {any} */ each) => html`<li><${At} at=${each.due_at} /> <a href=${instanceHref(each.instance)}>${each.instance}</a> ${each.outcome}${each.reason && `: ${each.reason}`}</li>`)}</ul>`
      : html`<p class="soft">It has started nothing yet.</p>`}<//>
    <${Panel} title="What it starts" note=${`key ${it.key}; late ones: ${it.catch_up}`}><${Json} value=${it.input} /><p class="soft">Changed <${Ago} at=${it.changed_at} />${it.changed_by && ` by ${it.changed_by}`}${it.reason && `: ${it.reason}`}</p><//>
    ${open && html`<${Act} title="${TITLES[open]}: ${name}" button=${open === "delete" ? `Delete ${name}` : TITLES[open]} danger=${open === "delete"} needsReason=${open === "delete"} does=${html`<p>${DOES[open]}</p>${it.backfill && open === "backfill" && html`<p>One is under way, up to <${At} at=${it.backfill.until} />.</p>`}`}
      send=${(/** @type {any} */ who) => (open === "delete" ? write("DELETE", path, who) : write("POST", `${path}/${open}`, open === "backfill" ? { ...who, since: instant(since), until: instant(until) } : who))} told=${() => "Done."} close=${() => setOpen("")}>
      ${open === "backfill" && html`<${Moment} title="From" value=${since} onChange=${setSince} /><${Moment} title="Until" value=${until} onChange=${setUntil} />`}<//>`}`}<//>`;
}

const instant = (/** @type {string} */ text) => new Date(text).toISOString();

/** @param {{title: string, value: string, onChange: (text: string) => void}} props */
const Moment = ({ title, value, onChange }) =>
  html`<${Labelled} title=${title} hint="In the past, in your time zone; both ends are included">${(/** @type {any} */ tied) => html`<input ...${tied} type="datetime-local" step="1" required value=${value} onInput=${(/** @type {any} */ event) => onChange(event.target.value)} />`}<//>`;

/** Due times on a line, as far apart as they are. @param {{times: string[]}} props */
function Line({ times }) {
  const last = Date.parse(times.at(-1) ?? "");
  const width = Math.max(last - now.value, 1);
  return html`<div class="due"><div class="track">${times.map((each) => html`<i class="run" style=${{ left: `${Math.min(Math.max(((Date.parse(each) - now.value) / width) * 97, 0), 97)}%` }}></i>`)}</div>
    <ol class="plainlist">${times.map((each) => html`<li><${Icon} path=${ICONS.wait} /> <${At} at=${each} /> <span class="soft"><${Ago} at=${each} /></span></li>`)}</ol></div>`;
}
