/** Questions: what waits for a person's answer, due soonest first, each with its form. */
import { write } from "../lib/api.js";
import { forbidden, me } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { instanceHref } from "../lib/router.js";
import { count, list } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { Act } from "../parts/act.js";
import { Ago, Empty, Panel, Reading } from "../parts/basics.js";
import { Cases } from "../parts/cases.js";
import { blank, Form, Labelled } from "../parts/form.js";
import { Json } from "../parts/values.js";
import { instancePath } from "../lib/api.js";

export const QUESTIONS = "/v1/questions";

const name = (/** @type {any} */ each) => `${each.instance} ${each.step}`;

export function Questions() {
  useTitle("Questions");
  const found = useResource(QUESTIONS);
  return html`<div class="head"><h1>Questions</h1>${found.data && html`<span class="meta">${count(found.data.questions.length, "question")}${found.data.cursor ? " or more" : ""}, due soonest first</span>`}</div>
    <${Reading} of=${found}>${(/** @type {any} */ data) =>
      html`<${Cases} label="Open questions" cases=${data.questions} id=${name}
            empty=${html`<${Empty} title="No question waits for an answer">A flow asks one with <code>ask</code>; it appears here by itself.<//>`}
            line=${(/** @type {any} */ each) => html`<b>${each.question}</b><span class="soft">for ${each.claimed_by ?? list(each.who)} · due <${Ago} at=${each.due} /></span>`}>
            ${(/** @type {any} */ each) => html`<${Question} question=${each} />`}<//>`}<//>`;
}

/** @param {{question: any}} props */
function Question({ question }) {
  const [open, setOpen] = useState("");
  const [value, setValue] = useState(question.form ? blank(question.form) : {});
  const [to, setTo] = useState("");
  const instance = useResource(instancePath(question.instance), { of: question.instance });
  const denied = forbidden("start");
  const assigning = forbidden("operate");
  const send = (/** @type {string} */ act, /** @type {any} */ given) => (/** @type {any} */ who) => write("POST", question.acts[act], { ...who, step: question.step, ...(given ? { value: given } : {}) });
  const close = () => setOpen("");
  return html`
    <div class="why run"><p><strong>${question.question}</strong></p>
      <p>${question.claimed_by ? html`Claimed by <b>${question.claimed_by}</b>.` : html`<b>${list(question.who)}</b> may answer.`} Asked <${Ago} at=${question.asked} />, due <${Ago} at=${question.due} />${question.escalated ? ", escalated" : ""}. <a href=${instanceHref(question.instance)}>${question.instance}</a></p></div>
    ${question.form
      ? html`<${Panel} title="Answer"><form class="stack narrow" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); setOpen("answer"); }}>
          <${Form} schema=${question.form} value=${value} onChange=${setValue} />
          <p class="row"><button class="primary" disabled=${Boolean(denied)} title=${denied}>Answer…</button>
            <button type="button" disabled=${Boolean(denied)} title=${denied} onClick=${() => setOpen("claim")}>Claim</button>
            <button type="button" disabled=${Boolean(assigning)} title=${assigning} onClick=${() => setOpen("assign")}>Assign</button></p></form><//>`
      : html`<${Panel} title="Answer"><p>The code of this question is not deployed on this server, so there is no form. Deploy it here, or answer on another node.</p><//>`}
    <${Panel} title="State"><${Reading} of=${instance}>${(/** @type {any} */ data) => html`<${Json} value=${data.state} />`}<//><//>
    ${open === "answer" && html`<${Act} title="Answer" button="Send the answer" needsReason=${false} does=${html`<p>${question.question}</p><${Json} value=${value} />`} send=${send("answer", value)} told=${() => "The answer is taken."} close=${close} />`}
    ${open === "claim" && html`<${Act} title="Claim" button="Claim" needsReason=${false} does=${html`<p>From then on nobody else may answer it, until it is assigned or escalated.</p>`} send=${send("claim", null)} told=${() => "It is yours."} close=${close} />`}
    ${open === "assign" && html`<${Act} title="Assign" button="Assign" does=${html`<p>The question is for one person from then on.</p>`} send=${send("assign", { to: to || me.value.name })} told=${() => `It is for ${to}.`} close=${close}>
      <${Labelled} title="To">${(/** @type {any} */ tied) => html`<input ...${tied} required value=${to} onInput=${(/** @type {any} */ event) => setTo(event.target.value)} />`}<//><//>`}`;
}
