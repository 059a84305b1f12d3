/** Messages that wait: keys of groups that are parked or retried, and what is sent later. */
import { write } from "../lib/api.js";
import { forbidden } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { count } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { Act } from "../parts/act.js";
import { Ago, At, Empty, Panel, Reading } from "../parts/basics.js";
import { Cases } from "../parts/cases.js";
import { Labelled } from "../parts/form.js";
import { Bytes, Edit } from "../parts/values.js";

export const PARKED = "/v1/parked";

/** What can be done with a parked key, and with a delayed message. @type {Record<string, {title: string, does: string, danger?: boolean}>} */
const ACTS = {
  redrive: { title: "Redrive", does: "Its first message is delivered again; when it succeeds, those after it follow in order." },
  skip: { title: "Skip the first", does: "Its first message becomes a dead letter, and the next one is delivered.", danger: true },
  discard: { title: "Discard all", does: "All of its messages become dead letters, and the key is free again.", danger: true },
  reschedule: { title: "Give it another time", does: "It is sent at that time instead. A time in the past sends it at once." },
  cancel: { title: "Do not send it", does: "It is not sent and becomes no dead letter. The history keeps it.", danger: true },
};

export function Parked() {
  useTitle("Parked");
  const parked = useResource(PARKED);
  const retrying = useResource(`${PARKED}?status=retrying`);
  const delayed = useResource("/v1/delayed");
  const all = [parked, retrying, delayed];
  return html`<div class="head"><h1>Parked</h1>${parked.data && html`<span class="meta">${count(parked.data.parked.length, "key")} parked, ${count(retrying.data?.parked.length ?? 0, "key")} retried, ${count(delayed.data?.delayed.length ?? 0, "message")} sent later${all.some((each) => /** @type {any} */ (each.data)?.cursor) ? ", or more" : ""}</span>`}</div>
    <${Reading} of=${all.find((each) => !each.data) ?? parked}>${(/** @type {any} */ data) => {
      const cases = [...data.parked, .../** @type {any} */ (retrying.data).parked, .../** @type {any} */ (delayed.data).delayed];
      return html`<${Cases} label="Parked keys and delayed messages" cases=${cases} id=${path}
        empty=${html`<${Empty} title="Nothing is parked, and nothing is sent later">A key comes here when a message of it has failed in all its attempts: the messages after it wait, so that their order stays.<//>`}
        line=${(/** @type {any} */ each) => (each.group ? html`<b class="mono">${each.key}</b><span class="soft">${each.group} · ${each.status} · ${count(each.letters, "message")}</span><span>${each.error}</span>` : html`<b class="mono">${each.message}</b><span class="soft">to ${each.topic}</span><span>sent <${Ago} at=${each.due_at} /></span>`)}>
        ${(/** @type {any} */ each) => html`<${One} path=${path(each)} />`}<//>`;
    }}<//>`;
}

/** @param {any} each */
const path = (each) => (each.group ? `${PARKED}/${encodeURIComponent(each.group)}/${encodeURIComponent(each.key)}` : `/v1/delayed/${encodeURIComponent(each.id)}`);

/** @param {{path: string}} props */
function One({ path }) {
  const found = useResource(path);
  const [open, setOpen] = useState("");
  const [at, setAt] = useState("");
  const [edited, edit] = useState(/** @type {any} */ (null));
  const denied = forbidden("operate");
  return html`<${Reading} of=${found}>${(/** @type {any} */ it) => {
    const letters = it.contents ?? [it.content];
    const fixed = denied || (it.status === "retrying" ? "It is being tried; edit it when it is parked." : "");
    const acts = it.contents ? ["redrive", "skip", "discard"] : ["reschedule", "cancel"];
    return html`<div class="why ${it.status === "parked" ? "bad" : it.status === "retrying" ? "undo" : "run"}"><p><strong>${it.contents ? it.error : html`It is sent <${Ago} at=${it.due_at} /> to <code>${it.topic}</code>.`}</strong> ${it.status === "parked" && `It failed ${count(it.attempts, "time")} and waits for a person; the messages of this key after it wait too.`}${it.next_at && html`It is tried again <${Ago} at=${it.next_at} />.`}</p>
        ${it.detail && html`<details><summary>Details</summary><pre tabindex="0">${it.detail}</pre></details>`}</div>
      <p class="row">${acts.map((act) => html`<button type="button" class=${ACTS[act].danger ? "danger-quiet" : ""} disabled=${Boolean(denied)} title=${denied || ACTS[act].does} onClick=${() => setOpen(act)}>${ACTS[act].title}</button>`)}</p>
      ${letters.map((/** @type {any} */ each, /** @type {number} */ index) => html`<${Panel} title=${it.contents ? `Message ${index + 1}` : "Message"} note=${each.source ?? each.topic}>
        <dl class="facts">${each.headers.map((/** @type {any} */ header) => html`<div><dt>${header.name}</dt><dd><code>${header.text ?? header.base64}</code></dd></div>`)}</dl><${Bytes} bytes=${each.value} /><p class="row"><button type="button" disabled=${Boolean(fixed)} title=${fixed} onClick=${() => edit(each)}>Edit</button></p><//>`)}
      <p class="soft">Here since <${At} at=${it.since} />.</p>
      ${edited && html`<${Edit} title="Edit a message" path=${path} letter=${edited.id} value=${edited.value} does="This value is delivered instead; its history keeps who changed it." told="It is edited." close=${() => edit(null)} />`}
      ${open && html`<${Act} title=${ACTS[open].title} button=${ACTS[open].title} danger=${ACTS[open].danger} needsReason=${Boolean(ACTS[open].danger)} does=${html`<p>${ACTS[open].does}</p>`}
        send=${(/** @type {any} */ who) => write("POST", `${path}/${open}`, { ...who, ...(open === "skip" ? { letter: it.first } : open === "reschedule" ? { at: new Date(at).toISOString() } : {}) })} told=${() => "Done."} close=${() => setOpen("")}>
        ${open === "reschedule" && html`<${Labelled} title="When">${(/** @type {any} */ tied) => html`<input ...${tied} type="datetime-local" step="1" required value=${at} onInput=${(/** @type {any} */ event) => setAt(event.target.value)} />`}<//>`}<//>`}`;
  }}<//>`;
}
