/** Conditions as chips: each says what it asks for and can be removed; one more is added from a list. */
import { CONDITIONS, told } from "../lib/conditions.js";
import { setQuery } from "../lib/router.js";
import { html, useState } from "../lib/view.js";
import { Menu } from "./menu.js";

/** @param {{query: Record<string, string>, definitions: string[]}} props */
export function Chips({ query, definitions }) {
  const held = CONDITIONS.filter((each) => query[each.name]);
  const free = CONDITIONS.filter((each) => !query[each.name]);
  return html`<div class="chips" role="group" aria-label="Conditions">
    ${held.map((each) => html`<span class="chip" key=${each.name}>${told(each, query[each.name])}<button type="button"
        onClick=${() => setQuery({ [each.name]: null, cursor: null })} aria-label="Remove ${told(each, query[each.name])}">×</button></span>`)}
    ${free.map((each) => html`<${Menu} key=${each.name} class="add" label=${`+ ${each.title}`}><${Choice} condition=${each} definitions=${definitions} /><//>`)}
    ${held.length > 1 && html`<button type="button" class="plain" onClick=${() => setQuery({ ...Object.fromEntries(held.map((each) => [each.name, null])), cursor: null })}>Remove all</button>`}
  </div>`;
}

/** @param {{condition: import("../lib/conditions.js").Condition, definitions: string[]}} props */
function Choice({ condition, definitions }) {
  const choices = condition.choices(definitions);
  const [text, setText] = useState("");
  const set = (/** @type {string} */ value) => setQuery({ [condition.name]: value, cursor: null });
  if (choices) return choices.map((each) => html`<button type="button" data-close onClick=${() => set(each.value)}>${each.text}</button>`);
  return html`<form class="row" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); if (text.trim()) set(text.trim()); }}>
    <input aria-label=${condition.title} value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} spellcheck=${false} autocomplete="off" />
    <button>Show</button>
  </form>`;
}
