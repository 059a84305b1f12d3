/** Conditions as chips: each says what it asks for and can be removed; one more is added from a list. */
import { CONDITIONS, held, told } from "../lib/conditions.js";
import { route, setQuery } from "../lib/router.js";
import { html, useState } from "../lib/view.js";
import { Menu } from "./basics.js";
import { Labelled } from "./form.js";

/** @typedef {import("../lib/conditions.js").Condition} Condition */

/** @param {Condition} condition @param {string[]} values */
const set = (condition, values) => setQuery({ [condition.name]: values.join(","), cursor: null });

/** @param {{definitions: string[]}} props */
export function Chips({ definitions }) {
  const { query } = route.value;
  const chips = CONDITIONS.flatMap((condition) => held(condition, query).map((value) => ({ condition, value })));
  const free = CONDITIONS.filter((each) => each.several || !query[each.name]);
  return html`<div class="chips" role="group" aria-label="Conditions">
    ${chips.map(({ condition, value }) => {
      const text = `${condition.title}: ${told(condition, value)}`;
      return html`<span class="chip" key="${condition.name} ${value}">${text}<button type="button" aria-label="Remove ${text}"
        onClick=${() => set(condition, held(condition, query).filter((each) => each !== value))}>×</button></span>`;
    })}
    ${free.slice(0, 3).map((each) => html`<${Menu} key=${each.name} class="add" label=${`+ ${each.title}`}><${Choice} condition=${each} definitions=${definitions} /><//>`)}
    <${Menu} key="more ${chips.length}" class="add" label="+ More"><${More} free=${free.slice(3)} definitions=${definitions} /><//>
    ${chips.length > 1 && html`<button type="button" class="plain" onClick=${() => setQuery({ ...Object.fromEntries(chips.map((each) => [each.condition.name, null])), cursor: null })}>Remove all</button>`}
  </div>`;
}

/** @param {{free: Condition[], definitions: string[]}} props */
function More({ free, definitions }) {
  const [chosen, choose] = useState(/** @type {Condition | null} */ (null));
  if (chosen) return html`<p class="pad strong">${chosen.title}</p><${Choice} condition=${chosen} definitions=${definitions} />`;
  return free.map((each) => html`<button type="button" key=${each.name} onClick=${() => choose(each)}>${each.title}</button>`);
}

/** @param {{condition: Condition, definitions: string[]}} props */
function Choice({ condition, definitions }) {
  const [text, setText] = useState("");
  const now = held(condition, route.value.query);
  if (condition.choices) {
    const choices = condition.choices(definitions).filter((each) => !now.includes(each.value));
    if (!choices.length) return html`<p class="pad soft">There is nothing to choose.</p>`;
    return choices.map((each) => html`<button type="button" data-close key=${each.value} onClick=${() => set(condition, [...now, each.value])}>${each.text}</button>`);
  }
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (text.trim()) set(condition, [condition.time ? new Date(text).toISOString() : text.trim()]);
  };
  return html`<form class="pad stack" onSubmit=${submit}>
    <${Labelled} title=${condition.title} hint=${condition.hint}>${(/** @type {any} */ tied) => html`<input ...${tied} required type=${condition.time ? "datetime-local" : "text"} value=${text} spellcheck=${false} autocomplete="off"
      onInput=${(/** @type {any} */ event) => setText(event.target.value)} />`}<//>
    <button class="primary">Show</button></form>`;
}
