/** One case at a time: the queue of cases at the left, the chosen one at the right; the address says which. */
import { useKeys } from "../lib/keys.js";
import { route, setQuery } from "../lib/router.js";
import { html, useEffect, useRef } from "../lib/view.js";

/**
 * The case that is shown stays until the reader moves, also when others come before it or it leaves the list.
 * @template T
 * @param {{label: string, cases: T[], id: (each: T) => string, line: (each: T) => any, empty: any, children: (each: T) => any}} props
 */
export function Cases({ label, cases, id, line, empty, children }) {
  const wanted = route.value.query.case;
  const kept = useRef(/** @type {{at: number, each: T} | null} */ (null));
  const at = cases.findIndex((each) => id(each) === wanted);
  const gone = at < 0 && kept.current !== null && id(kept.current.each) === wanted;
  const first = Math.max(at, 0);
  if (!gone) kept.current = cases.length ? { at: first, each: cases[first] } : null;
  const current = kept.current;
  const here = current?.at ?? 0;
  const name = current ? id(current.each) : "";
  const show = (/** @type {number} */ to) => cases.length && setQuery({ case: id(cases[Math.min(Math.max(to, 0), cases.length - 1)]) }, { step: false });
  useKeys(
    [
      { keys: "j", does: "Next case", run: () => show(gone ? here : here + 1) },
      { keys: "k", does: "Case before", run: () => show(here - 1) },
    ],
    [cases, here, gone],
  );
  useEffect(() => {
    if (name && name !== wanted) setQuery({ case: name }, { step: false });
  }, [name, wanted]);
  if (!current) return html`<section class="panel">${empty}</section>`;
  return html`<div class="cases">
    <nav class="panel flush" aria-label=${label}><ul>${cases.map((each, index) => html`<li key=${id(each)}><button type="button" aria-current=${index === at ? "true" : undefined} onClick=${() => show(index)}>${line(each)}</button></li>`)}</ul></nav>
    <div class="stack" key=${name}>${gone && html`<p class="stale" role="status">It is no longer in this list.${cases.length > 0 && html` <button type="button" onClick=${() => show(here)}>Next case</button>`}</p>`}${children(current.each)}</div>
  </div>`;
}
