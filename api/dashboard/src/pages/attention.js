/** Attention: one failed case at a time. What happened, what stands, what can be done with which consequence. */
import { get, instancePath } from "../lib/api.js";
import { possible } from "../lib/acts.js";
import { now, reached } from "../lib/feed.js";
import { useReading, useResource } from "../lib/resource.js";
import { instanceHref } from "../lib/router.js";
import { count } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { causeText, sentence } from "../lib/words.js";
import { Ago, Empty, Panel, Reading, StepStatus } from "../parts/basics.js";
import { Cases } from "../parts/cases.js";
import { InstanceAct } from "../parts/instance_act.js";

const PAGE = 100;
export const ATTENTION = `/v1/instances?status=attention&limit=${PAGE}`;

export function Attention() {
  useTitle("Attention");
  const found = useResource(ATTENTION);
  return html`<div class="head"><h1>Attention</h1>${found.data && html`<span class="meta">${count(found.data.instances.length, "instance")}${found.data.cursor ? " or more" : ""}, newest start first</span>`}</div>
    <${Reading} of=${found}>${(/** @type {any} */ data) =>
      html`<${Cases} label="Instances in attention" cases=${data.instances} id=${(/** @type {any} */ each) => each.id}
            empty=${html`<${Empty} title="Nothing needs a person now">An instance comes here when an undo fails, when a step past the pivot cannot succeed, or when code raises.<//>`}
            line=${(/** @type {any} */ each) => html`<b class="mono">${each.key}</b><span class="soft">${each.definition} · <${Ago} at=${each.attention?.at} /></span><span>${each.attention && causeText(each.attention)}</span>`}>
            ${(/** @type {any} */ each) => html`<${Case} id=${each.id} />`}<//>`}<//>`;
}

/** @param {{id: string}} props */
function Case({ id }) {
  const path = instancePath(id);
  const found = useReading(`${path} case`, async (signal) => {
    const [instance, inspection] = await Promise.all([get(path, signal), get(`${path}/inspection`, signal)]);
    reached(id, instance.revision);
    return { instance, inspection };
  }, { of: id });
  return html`<${Reading} of=${found}>${(/** @type {any} */ data) => html`<${Worked} ...${data} />`}<//>`;
}

/** @param {{instance: any, inspection: any}} props */
function Worked({ instance, inspection }) {
  const [open, setOpen] = useState(/** @type {ReturnType<typeof possible>[0] | null} */ (null));
  const { why, next, tone } = sentence(instance, inspection, now.value);
  const choices = possible(instance, inspection).filter((each) => each.open);
  const stands = inspection.outstanding;
  return html`
    <div class="why ${tone}"><p><strong>${why}</strong> ${next}</p>
      ${instance.attention?.detail && html`<details><summary>Details</summary><pre tabindex="0">${instance.attention.detail}</pre></details>`}</div>
    <${Panel} title="What stands" note="took effect, or may have, and is not undone">
      ${stands.length ? html`<ul class="plainlist">${stands.map((/** @type {any} */ each) => html`<li><b>${each.step}</b> <${StepStatus} status=${each.status} /> ${each.undo ? html`<span class="soft">its undo is <code>${each.undo}</code></span>` : html`<span class="soft">nothing undoes it</span>`}${each.error && html`<span class="block">${each.error.split("\n")[0]}</span>`}</li>`)}</ul>` : html`<p class="soft">Nothing: every effect is undone.</p>`}<//>
    <${Panel} title="What can be done">
      <ul class="choices">${choices.map((each) => html`<li key=${each.act.name}><button type="button" class=${each.act.danger ? "danger-quiet" : ""} disabled=${Boolean(each.reason)} title=${each.reason} onClick=${() => setOpen(each)}>${each.act.title}</button><span>${each.act.does}${each.steps.length > 0 && html` <span class="soft">Step: ${each.steps.join(", ")}.</span>`}</span></li>`)}</ul><//>
    <p><a href=${instanceHref(instance.id)}>All evidence: flow, timeline, history and state of ${instance.key}</a></p>
    ${open && html`<${InstanceAct} instance=${instance} inspection=${inspection} act=${open.act} steps=${open.steps} close=${() => setOpen(null)} />`}`;
}
