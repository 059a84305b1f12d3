/** One case at a time: the queue of cases at the left, the chosen one at the right; the address says which. */
import { useKeys } from "../lib/keys.js";
import { route, setQuery } from "../lib/router.js";
import { html } from "../lib/view.js";

/**
 * @template T
 * @param {{label: string, cases: T[], id: (each: T) => string, line: (each: T) => any, children: (each: T) => any}} props
 */
export function Cases({ label, cases, id, line, children }) {
  const at = Math.max(cases.findIndex((each) => id(each) === route.value.query.case), 0);
  const show = (/** @type {number} */ to) => setQuery({ case: id(cases[Math.min(Math.max(to, 0), cases.length - 1)]) }, { step: false });
  useKeys(
    [
      { keys: "j", does: "Next case", run: () => show(at + 1) },
      { keys: "k", does: "Case before", run: () => show(at - 1) },
    ],
    [cases, at],
  );
  const current = cases[at];
  return html`<div class="cases">
    <nav class="panel flush" aria-label=${label}><ul>${cases.map((each, index) => html`<li key=${id(each)}><button type="button" aria-current=${index === at ? "true" : undefined} onClick=${() => show(index)}>${line(each)}</button></li>`)}</ul></nav>
    <div class="stack" key=${id(current)}>${children(current)}</div>
  </div>`;
}
