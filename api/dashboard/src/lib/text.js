/** Times, lengths and counts as people read them. Times are of the reader's zone. */

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const DAY = 86_400;
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", DAY], ["hour", 3600], ["minute", 60], ["second", 1]];

/** `3 minutes ago`, `in 2 hours`. @param {string} iso @param {number} now */
export function ago(iso, now) {
  const seconds = Math.round((Date.parse(iso) - now) / 1000);
  if (Math.abs(seconds) < 2) return "now";
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? UNITS[3];
  return RELATIVE.format(Math.round(seconds / size), unit);
}

/** @param {number} value @param {number} [digits] */
const pad = (value, digits = 2) => String(value).padStart(digits, "0");

/** `16:46:44.255`, with its day when that is not today. @param {string} iso @param {{ms?: boolean, now?: number}} [how] */
export function clock(iso, { ms = true, now = Date.now() } = {}) {
  const at = new Date(iso);
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const text = ms ? `${time}.${pad(at.getMilliseconds(), 3)}` : time;
  return at.toDateString() === new Date(now).toDateString() ? text : `${day(at)} ${text}`;
}

/** @param {Date} at */
const day = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;

/** All of it, for the title of a shorter one. @param {string} iso */
export function full(iso) {
  const at = new Date(iso);
  return `${day(at)} ${clock(iso, { now: at.getTime() })} (${Intl.DateTimeFormat().resolvedOptions().timeZone})`;
}

/** `1.4 s`, `3 min`, `2 h 5 min`. @param {number} ms */
export function span(ms) {
  if (ms < 1) return "0 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.5) return `${seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`;
  if (seconds < 3599.5) return joined(Math.round(seconds), 60, "min", 1, "s");
  if (seconds < DAY - 30) return joined(Math.round(seconds / 60) * 60, 3600, "h", 60, "min");
  return joined(Math.round(seconds / 3600) * 3600, DAY, "d", 3600, "h");
}

/** @param {number} seconds whole ones of the small unit @param {number} large @param {string} unit @param {number} size @param {string} small */
const joined = (seconds, large, unit, size, small) => `${Math.floor(seconds / large)} ${unit}${seconds % large ? ` ${(seconds % large) / size} ${small}` : ""}`;

/** `1 order`, `1,204 orders`. @param {number} count @param {string} one @param {string} [many] */
export const count = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** `a`, `a and b`, `a, b and c`. @param {string[]} names */
export const list = (names) =>
  names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
