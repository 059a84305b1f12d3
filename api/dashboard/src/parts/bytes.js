/** The key or the value of a record, and an edit of it. */
import { write } from "../lib/api.js";
import { html, useState } from "../lib/view.js";
import { Act } from "./act.js";
import { Labelled } from "./form.js";
import { Lines } from "./json.js";

/** Bytes as JSON where they are, as text where they are that, else in hex. @param {{bytes: any}} props */
export function Bytes({ bytes }) {
  if (!bytes) return html`<p class="soft">There is none: a tombstone.</p>`;
  return html`<pre class="json" tabindex="0">${shown(bytes)}</pre>`;
}

/** @param {any} bytes */
function shown(bytes) {
  if (bytes.text === null) return [...atob(bytes.base64)].map((each) => each.charCodeAt(0).toString(16).padStart(2, "0")).join(" ").replace(/(.{48})/g, "$1\n");
  try {
    return JSON.stringify(JSON.parse(bytes.text), null, 2);
  } catch {
    return bytes.text;
  }
}

/** Another value for a message. @param {{title: string, path: string, letter?: string, value: any, does: string, told: string, close: () => void}} props */
export function Edit({ title, path, letter, value, does, told, close }) {
  const before = value?.text ?? "";
  const [text, setText] = useState(before);
  const changed = text !== before;
  return html`<${Act} title=${title} button="Keep this value" does=${html`<p>${does}</p>`} blocked=${changed ? "" : "Nothing is changed yet."}
    send=${(/** @type {any} */ who) => write("POST", `${path}/edit`, { ...who, letter, value: { text } })} told=${() => told} close=${close}>
    <${Labelled} title="Value">${(/** @type {any} */ tied) => html`<textarea ...${tied} class="mono" rows="10" spellcheck=${false} value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)}></textarea>`}<//>
    ${changed && html`<details open><summary>What changes</summary><${Lines} before=${shown({ text: before }).split("\n")} after=${shown({ text }).split("\n")} /></details>`}<//>`;
}
