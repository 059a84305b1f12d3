/** Values as people read them: JSON with the fields marked that changed, bytes, differences; and an edit of one. */
import { write } from "../lib/api.js";
import { html, useState } from "../lib/view.js";
import { Act } from "./act.js";
import { Labelled } from "./form.js";

/** @param {{value: unknown, marked?: Set<string>}} props top-level fields */
export function Json({ value, marked = new Set() }) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return html`<pre class="json" tabindex="0">${JSON.stringify(value, null, 2)}</pre>`;
  const fields = Object.entries(value);
  if (!fields.length) return html`<pre class="json">{}</pre>`;
  const lines = fields.map(([name, each], index) => {
    const text = `  ${JSON.stringify(name)}: ${JSON.stringify(each, null, 2).replaceAll("\n", "\n  ")}${index < fields.length - 1 ? "," : ""}`;
    return marked.has(name) ? html`<mark>${text}</mark>${"\n"}` : `${text}\n`;
  });
  return html`<pre class="json" tabindex="0">${"{\n"}${lines}${"}"}</pre>`;
}

/** Lines that went and came, between those at both ends that stay. @param {{before: string[], after: string[]}} props */
export function Lines({ before, after }) {
  let from = 0;
  let end = 0;
  const least = Math.min(before.length, after.length);
  while (from < least && before[from] === after[from]) from += 1;
  while (end < least - from && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return html`<pre class="json diff" tabindex="0">${before.slice(from, before.length - end).map((each) => html`<del>- ${each}</del>`)}${after.slice(from, after.length - end).map((each) => html`<ins>+ ${each}</ins>`)}</pre>`;
}

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
