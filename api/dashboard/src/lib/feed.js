/**
 * When something may have changed. Pages read their lists again when `pulse` moves. It moves with the event feed of
 * instances, and slowly by itself for what has no events: queues, dead letters, schedules.
 *
 * A browser lets one server have six connections, so a window that nobody sees holds none.
 */
import { signal } from "./view.js";

const STREAM = "/v1/events/stream";
const SLOW_MS = 5000;
const LOST_MS = 2000;
/** Events of one burst are one reading. */
const BURST_MS = 250;

/** Counts up when what is shown may be out of date. */
export const pulse = signal(0);
/** The reader's time, for relative times; moves every second. */
export const now = signal(Date.now());
/** When the server was last heard, and whether it answers. */
export const heard = signal({ at: Date.now(), alive: true });

/** @type {EventSource | null} */
let stream = null;
/** @type {ReturnType<typeof setTimeout> | null} */
let burst = null;

/** What a request has shown about the server. @param {boolean} alive */
export function tell(alive) {
  heard.value = { at: alive ? Date.now() : heard.peek().at, alive };
}

export function beat() {
  burst ??= setTimeout(() => {
    burst = null;
    pulse.value += 1;
  }, BURST_MS);
}

let followed = false;

/** Begins or ends to follow the feed. @param {boolean} wanted */
export function follow(wanted) {
  followed = wanted;
  open();
}

function open() {
  stream?.close();
  if (document.hidden || !followed) {
    stream = null;
    return;
  }
  stream = new EventSource(STREAM);
  stream.onmessage = beat;
  stream.onerror = () => tell(false);
  stream.onopen = () => {
    tell(true);
    beat();
  };
}

setInterval(() => {
  now.value = Date.now();
}, 1000);
setInterval(() => {
  if (!document.hidden) pulse.value += 1;
}, SLOW_MS);
setInterval(() => {
  if (!document.hidden && followed && (stream === null || stream.readyState === EventSource.CLOSED)) open();
  if (!document.hidden && !heard.peek().alive) pulse.value += 1;
}, LOST_MS);
document.addEventListener("visibilitychange", () => {
  open();
  if (!document.hidden) beat();
});
