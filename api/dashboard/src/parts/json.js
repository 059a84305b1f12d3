/** JSON as people read it, with the fields marked that changed. */
import { html } from "../lib/view.js";

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
