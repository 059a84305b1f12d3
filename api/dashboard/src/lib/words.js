/**
 * What a status is called, its colour and its icon: the same three everywhere. And the sentence that says of an instance
 * why it is as it is and what happens next.
 */
import { ago, capital, count, list, span } from "./text.js";

/** @typedef {"ok" | "run" | "undo" | "undone" | "bad" | "off"} Tone */
/** @typedef {{word: string, tone: Tone, icon: string}} Look */

/** Paths of the icons, drawn in 12 by 12. */
export const ICONS = {
  check: "M2.5 6.5 5 9l4.5-6",
  dot: "M6 3.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z",
  back: "M4.5 2 2 4.5 4.5 7M2 4.5h5a3 3 0 0 1 0 6H5",
  alert: "M6 2v5M6 9.4v.6",
  cross: "M3 3l6 6M9 3l-6 6",
  bars: "M4 2.5v7M8 2.5v7",
  wait: "M6 3v3l2 1.5M6 1.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Z",
};

/** @type {Record<string, Look>} */
const STATUSES = {
  running: { word: "Running", tone: "run", icon: ICONS.dot },
  completed: { word: "Completed", tone: "ok", icon: ICONS.check },
  compensating: { word: "Compensating", tone: "undo", icon: ICONS.back },
  compensated: { word: "Compensated", tone: "undone", icon: ICONS.back },
  attention: { word: "Attention", tone: "bad", icon: ICONS.alert },
  abandoned: { word: "Abandoned", tone: "off", icon: ICONS.cross },
};

export const STATUS_NAMES = Object.keys(STATUSES);

/** @param {string} status @returns {Look} */
export const statusLook = (status) => STATUSES[status] ?? { word: capital(status), tone: "off", icon: ICONS.dot };

/** @type {Record<string, Look>} */
const STEPS = {
  sent: { word: "in work", tone: "run", icon: ICONS.dot },
  waiting: { word: "waits", tone: "run", icon: ICONS.wait },
  locking: { word: "waits for a lock", tone: "run", icon: ICONS.wait },
  backoff: { word: "waits for the next attempt", tone: "bad", icon: ICONS.wait },
  done: { word: "done", tone: "ok", icon: ICONS.check },
  rejected: { word: "rejected", tone: "bad", icon: ICONS.cross },
  failed: { word: "failed", tone: "bad", icon: ICONS.cross },
  blocked: { word: "blocked", tone: "bad", icon: ICONS.alert },
  dropped: { word: "dropped", tone: "off", icon: ICONS.cross },
  undo_sent: { word: "being undone", tone: "undo", icon: ICONS.back },
  undo_backoff: { word: "undo waits for the next attempt", tone: "undo", icon: ICONS.wait },
  undo_failed: { word: "undo failed", tone: "bad", icon: ICONS.alert },
  undone: { word: "undone", tone: "undone", icon: ICONS.back },
  waived: { word: "stays, accepted", tone: "off", icon: ICONS.check },
};

/** @param {string} status @returns {Look} */
export const stepLook = (status) => STEPS[status] ?? { word: status, tone: "off", icon: ICONS.dot };

/** @type {Record<string, (cause: any) => string>} */
const CAUSES = {
  rejected: (cause) => `${cause.step} was rejected: ${cause.message}`,
  attempts: (cause) => `${cause.step} failed in all its attempts: ${cause.message}`,
  timeout: (cause) => `${cause.step} got no outcome in time: ${cause.message}`,
  cancelled: (cause) => `it was ${cause.message}`,
  undo: (cause) => `undoing ${cause.step} failed: ${cause.message}`,
  code: (cause) => `the code of ${cause.step ?? "the definition"} failed: ${cause.message}`,
  version: (cause) => `its version is not deployed: ${cause.message}`,
  child: (cause) => `the child of ${cause.step} failed: ${cause.message}`,
};

/** @param {{kind: string, step: string | null, message: string}} cause */
export const causeText = (cause) => (CAUSES[cause.kind] ?? (() => `${cause.step ? `${cause.step}: ` : ""}${cause.message}`))(cause);

/** @param {any[]} steps @param {string[]} wanted */
const named = (steps, wanted) => steps.filter((each) => wanted.includes(each.status)).map((each) => each.name);

/**
 * Why an instance is as it is, and what happens next.
 * @param {any} instance as /v1/instances/… shows it @param {any} inspection @param {number} now
 * @returns {{why: string, next: string, tone: Tone}}
 */
export function sentence(instance, inspection, now) {
  const { steps, cause, attention } = instance;
  const tone = statusLook(instance.status).tone;
  const undone = steps.filter((/** @type {any} */ each) => each.status === "undone");
  const cut = cause ? `${capital(causeText(cause))}.` : "";
  if (instance.paused && !instance.finished_at) {
    return { why: "It is paused.", next: "Nothing more is sent until somebody resumes it; replies still count.", tone: "off" };
  }
  if (instance.status === "attention") {
    const before = cause && attention.kind === "undo" ? `${cut} ` : "";
    return { why: `${before}${capital(causeText(attention))}.`, next: "It waits for a person: nothing happens until somebody acts.", tone };
  }
  if (instance.status === "compensating") {
    const open = steps.filter((/** @type {any} */ each) => each.undo && ["done", "undo_sent", "undo_backoff"].includes(each.status));
    const left = open.length === 1 ? "One undo is left" : `${open.length} undos are left`;
    const under = named(steps, ["sent", "backoff", "waiting"]);
    const first = under.length ? ` ${capital(list(under))} must end before that.` : "";
    return { why: `${cut} What took effect is being undone, last first.`, next: `${left}: ${list(open.map((/** @type {any} */ each) => each.name).reverse())}.${first}`, tone };
  }
  if (instance.status === "compensated") {
    const order = [...undone].sort((one, other) => (one.changed_at < other.changed_at ? -1 : 1)).map((each) => each.name);
    const what = order.length ? `${capital(list(order))} ${order.length > 1 ? "were undone, in this order" : "was undone"}.` : "Nothing had to be undone.";
    return { why: `${cut} ${what}`, next: `It ended ${ago(instance.finished_at, now)}; nothing is left to do.`, tone };
  }
  if (instance.status === "completed") {
    const took = span(Date.parse(instance.finished_at) - Date.parse(instance.created_at));
    return { why: `Every step is done, in ${took}.`, next: "Nothing is left to do.", tone };
  }
  if (instance.status === "abandoned") {
    return { why: cut || "It was closed by a person without being undone.", next: "The history lists what stays as it is.", tone };
  }
  return { ...running(instance, inspection, now), tone };
}

/** @param {any} instance @param {any} inspection @param {number} now */
function running(instance, inspection, now) {
  const { steps, timers } = instance;
  const soon = timers[0];
  const deadline = soon ? ` Its next deadline is ${ago(soon.due_at, now)}.` : "";
  const failing = steps.filter((/** @type {any} */ each) => each.status === "backoff");
  if (failing.length) {
    const one = failing[0];
    const first = (one.error ?? "").split("\n")[0];
    return { why: `${capital(one.name)} failed ${count(one.attempts, "time")}: ${first}.`, next: `It is tried again by itself.${deadline}` };
  }
  const working = named(steps, ["sent"]);
  if (working.length) {
    const verb = working.length > 1 ? "are" : "is";
    return { why: `${capital(list(working))} ${verb} in work.`, next: `A worker's answer takes it further.${deadline}` };
  }
  const locking = named(steps, ["locking"]);
  if (locking.length) return { why: `${capital(list(locking))} waits for a lock that another instance holds.`, next: `It goes on when that is released.${deadline}` };
  const waiting = named(steps, ["waiting"]);
  const asking = inspection.on_steps.find((/** @type {any} */ each) => each.act === "answer");
  if (asking) return { why: `${capital(asking.step)} waits for the answer of a person.`, next: `The page Questions has its form.${deadline}` };
  if (waiting.length) return { why: `${capital(waiting.at(-1) ?? "")} waits for something from outside: an answer, an event or a time.`, next: deadline.trim() || "It goes on when that comes." };
  return { why: instance.phase ? `It is in the phase ${instance.phase}.` : "It goes on.", next: deadline.trim() || "The next event takes it further." };
}

/** What came, in words. @param {any} message @returns {{text: string, id: string | null}} */
export function messageText(message) {
  if (!message) return { text: "a record that could not be read", id: null };
  const short = message.command_id ? shortCommand(message.command_id) : null;
  switch (message.kind) {
    case "start":
      return { text: message.parent ? "start by its parent" : message.schedule ? `start by schedule ${message.schedule}` : "start", id: null };
    case "completed":
      return { text: "reply", id: short };
    case "rejected":
      return { text: `rejected: ${message.reason}`, id: short };
    case "failed":
      return { text: `failed: ${(message.error ?? "").split("\n")[0]}`, id: short };
    case "act":
      return { text: `${message.act ?? message.name ?? "act"}${message.by ? ` by ${message.by}` : ""}${message.reason ? `: ${message.reason}` : ""}`, id: message.step || null };
    case "timer":
      return { text: "timer", id: message.name ?? message.timer ?? null };
    default:
      return { text: String(message.kind), id: message.step ?? message.event ?? null };
  }
}

/** `order/A-1/charge~7v4m/undo/1` -> `charge/undo/1`. @param {string} id */
export function shortCommand(id) {
  const parts = id.split("/");
  const from = parts.findIndex((each, index) => index > 1 && each.includes("~"));
  return from < 0 ? parts.slice(-2).join("/") : [parts[from].split("~")[0], ...parts.slice(from + 1)].join("/");
}

