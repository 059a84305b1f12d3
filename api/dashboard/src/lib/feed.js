/**
 * When something may have changed. Pages read their lists again when `pulse` moves: with the event feed of instances, at
 * most once a second, and slowly by itself for what has no events: queues, dead letters, schedules. What shows one
 * instance moves with the events of that one.
 *
 * A browser lets one server have six connections, so a window that nobody sees holds none.
 */
import { signal } from "./view.js";

const STREAM = "/v1/events/stream";
const SLOW_MS = 5000;
const LOST_MS = 2000;
/** Events of one burst are one reading. */
const BURST_MS = 1000;
/** The read model has what an event tells of some milliseconds later. */
const BEHIND_MS = 150;
/** Of an instance, whose every change has an event: only in case that one was missed. */
const SAFE_MS = 60_000;
/** A stream that the server refuses is asked for again after twice the time, up to this. */
const REFUSED_MS_MAX = 60_000;

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
let last = 0;
let refusals = 0;
let openedAt = 0;

/** What a request has shown about the server. @param {boolean} alive */
export function tell(alive) {
  heard.value = { at: alive ? Date.now() : heard.peek().at, alive };
}

/** The pulse and the newest revision of each instance that is shown, as long as it is. @type {Map<string, {pulse: typeof pulse, shown: number, revision: number}>} */
const watched = new Map();
/** Those that have changed in the burst that goes on. @type {Set<string>} */
const touched = new Set();

/** The pulse of one instance. Call the answer's `end` when it is no longer shown. @param {string} instance */
export function watch(instance) {
  const own = watched.get(instance) ?? { pulse: signal(0), shown: 0, revision: 0 };
  watched.set(instance, own);
  own.shown += 1;
  return {
    pulse: own.pulse,
    end: () => {
      own.shown -= 1;
      if (!own.shown) watched.delete(instance);
    },
  };
}

/** What was read has come to this revision; when the feed has told of a later one, it is read again. @param {string} instance @param {number} revision */
export function reached(instance, revision) {
  if (revision < (watched.get(instance)?.revision ?? 0)) beat(instance);
}

/** Everything may be out of date, or what shows this instance. @param {string} [instance] */
export function beat(instance) {
  if (instance === undefined) for (const each of watched.keys()) touched.add(each);
  else touched.add(instance);
  burst ??= setTimeout(() => {
    burst = null;
    last = Date.now();
    pulse.value += 1;
    for (const each of touched) {
      const own = watched.get(each);
      if (own) own.pulse.value += 1;
    }
    touched.clear();
  }, Math.max(last + BURST_MS - Date.now(), BEHIND_MS));
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
  openedAt = Date.now();
  stream = new EventSource(STREAM);
  stream.onmessage = (event) => {
    const { subject, data } = JSON.parse(event.data);
    const own = watched.get(subject);
    if (own) own.revision = data.status === null ? 0 : data.revision;
    beat(subject);
  };
  stream.onerror = () => {
    if (stream?.readyState === EventSource.CLOSED) refusals += 1;
    else tell(false);
  };
  stream.onopen = () => {
    refusals = 0;
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
  if (!document.hidden) beat();
}, SAFE_MS);
setInterval(() => {
  if (document.hidden) return;
  const wait = Math.min(LOST_MS * 2 ** refusals, REFUSED_MS_MAX);
  if (followed && (stream === null || stream.readyState === EventSource.CLOSED) && Date.now() - openedAt >= wait) open();
  if (!heard.peek().alive) beat();
}, LOST_MS);
document.addEventListener("visibilitychange", () => {
  open();
  if (!document.hidden) beat();
});
