/** Overview: first whether anything needs a person, then the figures, then where to look. */
import { get, query as search } from "../lib/api.js";
import { useReading, useResource } from "../lib/resource.js";
import { href, instanceHref } from "../lib/router.js";
import { clock, count } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { causeText, ICONS, STATUS_NAMES, statusLook } from "../lib/words.js";
import { Ago, Icon, Panel, Reading, Status, StepStatus } from "../parts/basics.js";
import { Notify } from "../parts/notify.js";
import { ATTENTION } from "./attention.js";
import { GROUPS } from "./dead.js";
import { QUESTIONS } from "./questions.js";
import { QUEUES, stuck } from "./queues.js";

const SHOWN = 5;

/** All of it in one reading, so that no two figures are of different moments. @param {AbortSignal} signal */
async function read(signal) {
  const paths = [ATTENTION, QUESTIONS, GROUPS, QUEUES, "/v1/overdue"];
  const [attention, questions, dead, queues, overdue] = await Promise.all(paths.map((each) => get(each, signal)));
  const counts = await Promise.all(STATUS_NAMES.map(async (status) => ({ status, ...(await get(`/v1/instances/count${search({ status })}`, signal)) })));
  return { attention, questions, dead, queues, overdue, counts };
}

export function Overview() {
  useTitle("Overview");
  const found = useReading("overview", read);
  return html`<div class="head"><h1>Overview</h1><${Notify} /></div><${Reading} of=${found} lines=${8}>${(/** @type {any} */ data) => html`<${Whole} ...${data} />`}<//>`;
}

/** @param {any} props */
function Whole({ attention, questions, dead, queues, overdue, counts }) {
  const letters = dead.groups.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.open, 0);
  const needs = [
    attention.instances.length && html`<a href=${href("attention")}>${count(attention.instances.length, "instance")} in attention</a>`,
    stuck(queues) && html`<a href=${href("queues")}>${count(stuck(queues), "queue")} without progress</a>`,
    questions.questions.length && html`<a href=${href("questions")}>${count(questions.questions.length, "question")} to answer</a>`,
    letters && html`<a href=${href("dead")}>${count(letters, "dead letter")}</a>`,
  ].filter(Boolean);
  const bad = attention.instances.length || stuck(queues);
  return html`
    <div class="why ${bad ? "bad" : needs.length ? "undo" : "ok"}"><p>${needs.length ? html`<strong>A person is needed:</strong> ${needs.map((each, index) => html`${index > 0 && (index === needs.length - 1 ? " and " : ", ")}${each}`)}.` : html`<strong>Nothing needs a person now.</strong> What fails is retried or undone by itself.`}</p></div>
    <div class="stack">
      <${Panel} title="Instances" note="by status"><ul class="figures">${counts.map((/** @type {any} */ each) => html`<li><a href=${href("instances", [], { status: each.status })}><b>${each.count.toLocaleString("en")}${each.exact ? "" : "+"}</b><${Status} status=${each.status} /></a></li>`)}</ul><//>
      <${Started} />
      <div class="halves">
        <${Panel} title="In attention" note=${attention.instances.length > SHOWN && html`<a href=${href("attention")}>all ${attention.instances.length}</a>`}>
          ${attention.instances.length ? html`<ul class="plainlist">${attention.instances.slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><a class="mono" href=${href("attention", [], { case: each.id })}>${each.key}</a> <span class="soft">${each.definition} · <${Ago} at=${each.attention?.at} /></span><span class="block">${each.attention && causeText(each.attention)}</span></li>`)}</ul>` : html`<p class="soft">None.</p>`}<//>
        <${Panel} title="Overdue" note="steps that take longer than expected">
          ${overdue.overdue.length ? html`<ul class="plainlist">${overdue.overdue.slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><a class="mono" href=${instanceHref(each.instance)}>${each.instance}</a> <b>${each.step}</b> <${StepStatus} status=${each.status} /> <span class="soft">since <${Ago} at=${each.since} /></span></li>`)}</ul>` : html`<p class="soft">None.</p>`}<//>
        <${Panel} title="Queues" note=${count(queues.queues.length, "queue")}>
          <ul class="plainlist">${queues.queues.filter((/** @type {any} */ each) => each.waiting > 0).slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><b class="mono">${each.queue}</b> ${each.waiting.toLocaleString("en")} waiting, the oldest since <${Ago} at=${each.oldest} /><span class="block">${each.reason}</span></li>`)}</ul>
          ${queues.queues.every((/** @type {any} */ each) => each.waiting === 0) && html`<p class="soft"><${Icon} path=${ICONS.check} /> Nothing waits.</p>`}<//>
        <${Panel} title="Questions" note="due soonest first">
          ${questions.questions.length ? html`<ul class="plainlist">${questions.questions.slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><a href=${href("questions", [], { case: `${each.instance} ${each.step}` })}>${each.question}</a> <span class="soft">due <${Ago} at=${each.due} /></span></li>`)}</ul>` : html`<p class="soft">None.</p>`}<//>
      </div>
    </div>`;
}

/**
 * Read about once a minute, and when the window is looked at again: the pulse of no instance moves only with that of
 * everything. So it may be a minute behind the figures by status.
 */
function Started() {
  const found = useResource("/v1/instances/rates", { of: "" });
  return html`<${Panel} title="Started" note="in each of the last 24 hours, by their status now"><${Reading} of=${found} lines=${4}>${(/** @type {any} */ data) => html`<${Hours} ...${data} />`}<//><//>`;
}

/** A bar for each hour. One of them is told in words: the last, or the one that was pointed at. @param {{hours: any[]}} props */
function Hours({ hours }) {
  const [at, setAt] = useState(hours.length - 1);
  const most = Math.max(...hours.map((each) => each.started));
  if (!most) return html`<p class="soft">No instance has started.</p>`;
  const told = (/** @type {any} */ hour) => `${time(hour.since)} to ${time(hour.until)}: ${[`${hour.started.toLocaleString("en")} started`, ...STATUS_NAMES.filter((each) => hour.statuses[each]).map((each) => `${hour.statuses[each].toLocaleString("en")} ${statusLook(each).word.toLowerCase()}`)].join(", ").replace("attention", "in attention")}`;
  const move = (/** @type {any} */ { key, currentTarget }) => currentTarget.children[at + Number(key === "ArrowRight") - Number(key === "ArrowLeft")]?.focus();
  return html`<div class="hours">
    <span>${most.toLocaleString("en")}</span>
    <div role="group" aria-label="Hours" onKeyDown=${move}>${hours.map((hour, index) => html`<a href=${href("instances", [], { started_since: hour.since, started_until: hour.until })} tabindex=${index === at ? 0 : -1} aria-label=${told(hour)} onFocus=${() => setAt(index)} onMouseEnter=${() => setAt(index)}>${STATUS_NAMES.map((each) => hour.statuses[each] > 0 && html`<i class=${statusLook(each).tone} style=${{ height: `${(100 * hour.statuses[each]) / most}%` }}></i>`)}</a>`)}</div>
    <span>${time(hours[0].since)}</span><span>now</span>
    <p>${told(hours[at])}</p>
    <ul>${STATUS_NAMES.map((each) => [each, hours.reduce((sum, hour) => sum + hour.statuses[each], 0)]).map(([each, sum]) => sum > 0 && html`<li><${Status} status=${each} /> ${sum.toLocaleString("en")}</li>`)}</ul>
  </div>`;
}

/** `14:00`. @param {string} iso */
const time = (iso) => clock(iso, { ms: false }).slice(-8, -3);
