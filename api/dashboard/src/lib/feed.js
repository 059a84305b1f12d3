/**
 * When something may have changed. Pages read their lists again when `pulse` moves; whether it moves by a clock or by
 * an event feed is known here only.
 */
import { signal } from "./view.js";

const EVERY_MS = 2000;

/** Counts up when what is shown may be out of date. */
export const pulse = signal(0);
/** The reader's time, for relative times; moves every second. */
export const now = signal(Date.now());
/** When a request was last answered, and whether the last one was. */
export const heard = signal({ at: Date.now(), alive: true });

/** @param {boolean} alive */
export function tell(alive) {
  heard.value = { at: alive ? Date.now() : heard.peek().at, alive };
}

setInterval(() => {
  now.value = Date.now();
}, 1000);
setInterval(() => {
  if (!document.hidden) pulse.value += 1;
}, EVERY_MS);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) pulse.value += 1;
});
