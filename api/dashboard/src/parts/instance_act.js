/** The sheet of an act on one instance. */
import { instancePath } from "../lib/api.js";
import { useResource } from "../lib/resource.js";
import { list } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { statusLook } from "../lib/words.js";
import { Act, post } from "./act.js";
import { StepStatus } from "./basics.js";
import { blank, Form, JsonField, Labelled } from "./form.js";

const TYPING_MS = 300;

/** What the value of an act begins as; an answer has a form of its own. @type {Record<string, any>} */
const VALUES = {
  assign: { to: "" },
  skip: {},
  edit: { patch: [{ op: "replace", path: "/", value: null }], retry: false },
  "replace-undo": { contract: "", command: {} },
  restart: { patch: [] },
  fork: { key: "", patch: [] },
  revise: { ahead: [] },
};

/** @param {{instance: any, inspection: any, act: import("../lib/acts.js").ActWords, steps: string[], close: () => void}} props */
export function InstanceAct({ instance, inspection, act, steps, close }) {
  const [step, setStep] = useState(steps[0] ?? "");
  const [value, setValue] = useState(VALUES[act.name] ?? null);
  const asks = useResource(act.name === "answer" ? `/v1/questions?definition=${encodeURIComponent(instance.definition)}` : null, { live: false });
  const question = asks.data?.questions.find((/** @type {any} */ each) => each.instance === instance.id && each.step === step);
  const form = question?.form ?? null;
  const given = form && value === null ? blank(form) : value;
  return html`<${Act} title="${act.title} ${instance.key}" button=${act.title} danger=${act.danger} close=${close}
    does=${html`<p>${act.does}</p>${act.name === "cancel" && html`<${Foretold} cancel=${inspection.cancel} />`}${act.name !== "cancel" && (given === null || given !== VALUES[act.name]) && html`<${Rehearsed} path="${instancePath(instance.id)}/${act.name}" body=${{ ...(act.step ? { step } : {}), ...(given === null ? {} : { value: given }) }} revision=${instance.revision} />`}${question && html`<p class="strong">${question.question}</p>`}`}
    send=${(/** @type {any} */ who) => post(`${instancePath(instance.id)}/${act.name}`, { ...who, ...(act.step ? { step } : {}), ...(given === null ? {} : { value: given }) })}
    told=${(/** @type {any} */ answer) => `${answer.changed === false ? "It was so already" : "Done"}: ${instance.key} is ${statusLook(answer.status).word.toLowerCase()} at revision ${answer.revision}.`}>
    ${act.step && steps.length > 1 && html`<${Labelled} title="Step">${(/** @type {any} */ tied) => html`<select ...${tied} value=${step} onChange=${(/** @type {any} */ event) => setStep(event.target.value)}>${steps.map((each) => html`<option>${each}</option>`)}</select>`}<//>`}
    ${act.step && steps.length === 1 && html`<p>Step: <code>${step}</code></p>`}
    ${form && html`<${Form} schema=${form} value=${given} onChange=${setValue} />`}
    ${act.name === "assign" && html`<${Labelled} title="To">${(/** @type {any} */ tied) => html`<input ...${tied} required value=${value.to} onInput=${(/** @type {any} */ event) => setValue({ to: event.target.value })} />`}<//>`}
    ${VALUES[act.name] && act.name !== "assign" && html`<${JsonField} title="Value" hint="as JSON" value=${VALUES[act.name]} onChange=${setValue} />`}
  <//>`;
}

/** What the act would do now, decided as the engine would. @param {{path: string, body: any, revision: number}} props */
function Rehearsed({ path, body, revision }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const asked = JSON.stringify(body);
  useEffect(() => {
    let current = true;
    const soon = setTimeout(() => post(`${path}?dry_run=true`, { ...JSON.parse(asked), reason: "what if" }).then((answer) => current && setFound(answer), () => current && setFound(null)), TYPING_MS);
    return () => {
      current = false;
      clearTimeout(soon);
    };
  }, [path, asked, revision]);
  return found && html`<div class="why ${found.outcome === "denied" ? "bad" : "run"}" role="status"><p class="strong">What it would do now</p><ul class="steps">${found.summary.map((/** @type {string} */ each) => html`<li>${each}</li>`)}</ul></div>`;
}

/** What a cancel would do now. @param {{cancel: any}} props */
function Foretold({ cancel }) {
  const { awaited, undone, stays } = cancel;
  return html`
    ${awaited.length > 0 && html`<p>First <b>${list(awaited)}</b> must end: by a reply, or by its deadline.</p>`}
    ${undone.length > 0 ? html`<p>${awaited.length > 0 ? "Then this" : "This"} is undone, in this order:</p><ol class="steps">${undone.map((/** @type {any} */ each) => html`<li><b>${each.step}</b> by <code>${each.undo}</code> <${StepStatus} status=${each.status} /></li>`)}</ol>` : html`<p>Nothing has to be undone.</p>`}
    ${stays.length > 0 && html`<p>This stays, as nothing undoes it:</p><ul class="steps">${stays.map((/** @type {any} */ each) => html`<li><b>${each.step}</b> <${StepStatus} status=${each.status} /></li>`)}</ul>`}
  `;
}
