/** The keyboard: one place that knows which key does what now; `?` shows it. */
import { signal, useLayoutEffect } from "./view.js";

/** @typedef {{keys: string, does: string, run: (event: KeyboardEvent) => void}} Binding */

/** All that are bound now, for the help. */
export const bindings = signal(/** @type {Binding[]} */ ([]));
const SEQUENCE_MS = 1200;
let before = { key: "", at: 0 };

/** @param {EventTarget | null} target */
function typing(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const pair = event.timeStamp - before.at < SEQUENCE_MS ? `${before.key} ${event.key}` : "";
  const found = bindings.value.findLast((each) => each.keys === pair) ?? bindings.value.findLast((each) => each.keys === event.key);
  before = { key: event.key, at: event.timeStamp };
  if (!found) return;
  event.preventDefault();
  before.key = "";
  found.run(event);
});

/** Binds keys while a component is shown. @param {Binding[]} mine @param {unknown[]} [given] */
export function useKeys(mine, given = []) {
  useLayoutEffect(() => {
    bindings.value = [...bindings.peek(), ...mine];
    return () => {
      bindings.value = bindings.peek().filter((each) => !mine.includes(each));
    };
  }, given);
}
