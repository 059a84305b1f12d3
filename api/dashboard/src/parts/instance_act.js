/** The sheet of an act on one instance. */
import { instancePath } from "../lib/api.js";
import { useResource } from "../lib/resource.js";
import { list } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { statusLook } from "../lib/words.js";
import { Act, post } from "./act.js";
import { Failed, StepStatus } from "./basics.js";
import { blank, Form, JsonField, Labelled } from "./form.js";
import { Lines } from "./values.js";

const TYPING_MS = 300;

/** @typedef {import("../lib/api.js").Problem} Problem */

/** What the value of an act begins as; an answer has a form of its own. @type {Record<string, any>} */
const VALUES = {
  assign: { to: "" },
  skip: {},
  edit: { patch: [{ op: "replace", path: "/", value: null }], retry: false },
  "replace-undo": { contract: "", command: {} },
  restart: {},
  fork: { key: "" },
  revise: { ahead: [] },
};

/** Acts that change the state by a patch, and those that have a form by the definition. */
const PATCHES = ["edit", "fork", "restart"];
const FORMED = [...PATCHES, "skip"];

/** @param {{instance: any, inspection: any, act: import("../lib/acts.js").ActWords, steps: string[], close: () => void}} props */
export function InstanceAct({ instance, inspection, act, steps, close }) {
  const [step, setStep] = useState(steps[0] ?? "");
  const [value, setValue] = useState(VALUES[act.name] ?? null);
  const asks = useResource(act.name === "answer" ? `/v1/questions?definition=${encodeURIComponent(instance.definition)}` : null, { live: false });
  const question = asks.data?.questions.find((/** @type {any} */ each) => each.instance === instance.id && each.step === step);
  const deployed = useResource(FORMED.includes(act.name) ? "/v1/definitions" : null, { live: false });
  const definition = deployed.data?.definitions.find((/** @type {any} */ each) => each.name === instance.definition && each.version === instance.version);
  const form = question?.form ?? (act.name === "skip" && definition ? replyOf(definition.flow, step) : null);
  const stated = PATCHES.includes(act.name) && definition?.input.properties ? definition.input : null;
  const given = form && (value === null || value === VALUES[act.name]) ? blank(form) : value;
  const body = { ...(act.step ? { step } : {}), ...(given === null ? {} : { value: given }) };
  const path = `${instancePath(instance.id)}/${act.name}`;
  const foreseen = useRehearsal(path, act.name === "cancel" || (!act.danger && given !== null && given === VALUES[act.name]) ? null : body, instance.revision);
  const unchanged = act.name === "edit" && (value === VALUES.edit || !value.patch?.length);
  const blocked = unchanged ? "Nothing is changed yet." : act.danger && act.name !== "cancel" ? (!foreseen.fresh ? "Wait for the preview." : foreseen.answer ? (foreseen.answer.outcome === "denied" ? "It would be denied now." : "") : "Without its preview it is not sent.") : "";
  return html`<${Act} title="${act.title} ${instance.key}" button=${act.step ? act.title : `${act.title} ${instance.key}`} danger=${act.danger} blocked=${blocked} close=${close}
    does=${html`<p>${act.does}</p>${act.name === "cancel" && html`<${Foretold} cancel=${inspection.cancel} />`}<${Rehearsed} ...${foreseen} />${question && html`<p class="strong">${question.question}</p>`}`}
    send=${(/** @type {any} */ who) => post(path, { ...who, ...body })}
    told=${(/** @type {any} */ answer) => `${answer.changed === false ? "It was so already" : "Done"}: ${instance.key} is ${statusLook(answer.status).word.toLowerCase()} at revision ${answer.revision}.`}>
    ${act.step && steps.length > 1 && html`<${Labelled} title="Step">${(/** @type {any} */ tied) => html`<select ...${tied} value=${step} onChange=${(/** @type {any} */ event) => setStep(event.target.value)}>${steps.map((each) => html`<option>${each}</option>`)}</select>`}<//>`}
    ${act.step && steps.length === 1 && html`<p>Step: <code>${step}</code></p>`}
    ${form && html`<${Form} schema=${form} value=${given} onChange=${setValue} />`}
    ${act.name === "assign" && html`<${Labelled} title="To">${(/** @type {any} */ tied) => html`<input ...${tied} required value=${value.to} onInput=${(/** @type {any} */ event) => setValue({ to: event.target.value })} />`}<//>`}
    ${stated && html`<${Patched} act=${act.name} schema=${stated} state=${instance.state} attention=${instance.status === "attention"} value=${value} onChange=${setValue} />`}
    ${VALUES[act.name] && act.name !== "assign" && !stated && !form && html`<${JsonField} title="Value" hint="as JSON" value=${VALUES[act.name]} onChange=${setValue} />`}
  <//>`;
}

/** The schema of the reply of a step, which may stand in a branch. @param {any[]} flow @param {string} step @returns {any} */
function replyOf(flow, step) {
  for (const each of flow) {
    if (each.name === step && each.reply) return each.reply;
    for (const branch of each.branches ?? []) {
      const found = replyOf(branch.flow, step);
      if (found) return found;
    }
  }
  return null;
}

/** The operations that make one state of the other, field by field. @param {any} before @param {any} after */
function patchOf(before, after) {
  const path = (/** @type {string} */ name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
  return Object.keys(after).filter((name) => JSON.stringify(after[name]) !== JSON.stringify(before[name])).map((name) => ({ op: name in before ? "replace" : "add", path: path(name), value: after[name] }));
}

/**
 * The state as a form; what is changed there becomes a JSON Patch.
 * @param {{act: string, schema: any, state: any, attention: boolean, value: any, onChange: (value: any) => void}} props
 */
function Patched({ act, schema, state, attention, value, onChange }) {
  // It stays that of the beginning, so that nothing that somebody else changes meanwhile is changed back.
  const [first] = useState(state);
  const [now, setNow] = useState(state);
  const change = (/** @type {any} */ to) => {
    setNow(to);
    const patch = patchOf(first, to);
    onChange({ ...value, patch: patch.length > 0 || act === "edit" ? patch : undefined });
  };
  return html`${act === "fork" && html`<${Labelled} title="Key" hint="Of the new instance">${(/** @type {any} */ tied) => html`<input ...${tied} required value=${value.key} onInput=${(/** @type {any} */ event) => onChange({ ...value, key: event.target.value })} />`}<//>`}
    <${act === "edit" ? "div" : "details"} class="stack">${act !== "edit" && html`<summary>Change the state first</summary>`}<div class="stack"><${Form} schema=${schema} value=${now} onChange=${change} /></div><//>
    ${value !== VALUES.edit && value.patch?.length > 0 && html`<details open><summary>What is changed</summary><${Lines} before=${value.patch.map((/** @type {any} */ each) => `${each.path}: ${JSON.stringify(first[each.path.slice(1)])}`)} after=${value.patch.map((/** @type {any} */ each) => `${each.path}: ${JSON.stringify(each.value)}`)} /></details>`}
    ${act === "edit" && attention && html`<label class="check"><input type="checkbox" checked=${value.retry} onChange=${(/** @type {any} */ event) => onChange({ patch: patchOf(first, now), retry: event.target.checked })} /><span>Then retry</span></label>`}`;
}

/**
 * What the act would do now, decided as the engine would. It is `fresh` when it is about this body and this revision.
 * @param {string} path @param {any} body null: it is not asked @param {number} revision
 */
function useRehearsal(path, body, revision) {
  const [found, setFound] = useState(/** @type {{asked: string, answer?: any, problem?: Problem}} */ ({ asked: "" }));
  const [times, setTimes] = useState(0);
  const asked = JSON.stringify([path, body, revision, times]);
  useEffect(() => {
    if (body === null) return undefined;
    let current = true;
    const told = (/** @type {{answer?: any, problem?: Problem}} */ outcome) => current && setFound({ asked, ...outcome });
    const soon = setTimeout(() => post(`${path}?dry_run=true`, { ...body, reason: "what if" }).then((answer) => told({ answer }), (problem) => told({ problem })), TYPING_MS);
    return () => {
      current = false;
      clearTimeout(soon);
    };
  }, [asked]);
  const retry = () => setTimes(times + 1);
  return { answer: found.answer, problem: found.problem, fresh: found.asked === asked, retry };
}

/** @param {{answer?: any, problem?: Problem, fresh: boolean, retry: () => void}} props */
const Rehearsed = ({ answer, problem, fresh, retry }) =>
  problem
    ? html`<${Failed} problem=${problem} retry=${retry} />`
    : answer && html`<div class="why ${answer.outcome === "denied" ? "bad" : "run"} ${fresh ? "" : "late"}" role="status"><p class="strong">What it would do now</p><ul class="steps">${answer.summary.map((/** @type {string} */ each) => html`<li>${each}</li>`)}</ul></div>`;

/** What a cancel would do now. @param {{cancel: any}} props */
function Foretold({ cancel }) {
  const { awaited, undone, stays } = cancel;
  return html`
    ${awaited.length > 0 && html`<p>First <b>${list(awaited)}</b> must end: by a reply, or by its deadline.</p>`}
    ${undone.length > 0 ? html`<p>${awaited.length > 0 ? "Then this" : "This"} is undone, in this order:</p><ol class="steps">${undone.map((/** @type {any} */ each) => html`<li><b>${each.step}</b> by <code>${each.undo}</code> <${StepStatus} status=${each.status} /></li>`)}</ol>` : html`<p>Nothing has to be undone.</p>`}
    ${stays.length > 0 && html`<p>This stays, as nothing undoes it:</p><ul class="steps">${stays.map((/** @type {any} */ each) => html`<li><b>${each.step}</b> <${StepStatus} status=${each.status} /></li>`)}</ul>`}
  `;
}
