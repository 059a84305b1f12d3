/** The key or the value of a record. */
import { html } from "../lib/view.js";

/** Bytes as JSON where they are, as text where they are that, else in hex. @param {{bytes: any}} props */
export function Bytes({ bytes }) {
  if (!bytes) return html`<p class="soft">There is none: a tombstone.</p>`;
  return html`<pre class="json" tabindex="0">${shown(bytes)}</pre>`;
}

/** @param {any} bytes */
export function shown(bytes) {
  if (bytes.text === null) return [...atob(bytes.base64)].map((each) => each.charCodeAt(0).toString(16).padStart(2, "0")).join(" ").replace(/(.{48})/g, "$1\n");
  try {
    return JSON.stringify(JSON.parse(bytes.text), null, 2);
  } catch {
    return bytes.text;
  }
}
