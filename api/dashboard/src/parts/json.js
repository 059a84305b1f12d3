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
