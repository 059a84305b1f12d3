/**
 * What instances can be asked for: each condition is a chip, a parameter of the address and one of the route. Another
 * condition is another entry here.
 */
import { clock } from "./text.js";
import { STATUS_NAMES, statusLook } from "./words.js";

/**
 * @typedef {object} Condition
 * @property {string} name
 * @property {string} title
 * @property {(definitions: string[]) => {value: string, text: string}[]} [choices] none: any text
 * @property {string} [hint] what a text looks like
 * @property {boolean} [several] it may hold several values, any of which will do
 * @property {boolean} [time] its value is a time
 */

const YES_NO = [{ value: "true", text: "yes" }, { value: "false", text: "no" }];

/** @type {Condition[]} */
export const CONDITIONS = [
  { name: "status", title: "Status", several: true, choices: () => STATUS_NAMES.map((value) => ({ value, text: statusLook(value).word })) },
  { name: "definition", title: "Definition", choices: (definitions) => definitions.map((value) => ({ value, text: value })) },
  { name: "key", title: "Key", hint: "the whole key" },
  { name: "key_prefix", title: "Key begins", hint: "the first characters" },
  { name: "where", title: "Field", hint: "a searchable field: customer=ann, total>=1000, name^=Ann" },
  { name: "code", title: "Reason code", hint: "of a rejection, or a kind such as timeout" },
  { name: "overdue", title: "Overdue", choices: () => YES_NO },
  { name: "paused", title: "Paused", choices: () => YES_NO },
  { name: "version", title: "Version", hint: "a number" },
  { name: "started_since", title: "Started since", time: true },
  { name: "started_until", title: "Started before", time: true },
  { name: "updated_since", title: "Changed since", time: true },
  { name: "updated_until", title: "Changed before", time: true },
];

/** The values of a condition in an address. @param {Condition} condition @param {Record<string, string>} query */
export const held = (condition, query) => (query[condition.name] ? (condition.several ? query[condition.name].split(",") : [query[condition.name]]) : []);

/** The conditions of an address, as the query of the route. @param {Record<string, string>} query */
export function asked(query) {
  return CONDITIONS.flatMap((each) => held(each, query).map((value) => /** @type {[string, string]} */ ([each.name, value])));
}

const YES = /^(1|on|t|true|y|yes)$/i;
const NO = /^(0|off|f|false|n|no)$/i;

/** The same as fields of a body; what is no value of its type is left to the server to refuse, as in the list. @param {Record<string, string>} query @returns {Record<string, unknown>} */
export const wanted = (query) => Object.fromEntries(CONDITIONS.filter((each) => query[each.name]).map((each) => {
  const values = held(each, query);
  if (each.several || each.name === "where") return [each.name, values];
  const [text] = values;
  if (each.name === "version") return [each.name, /^\d+$/.test(text) ? Number(text) : text];
  return [each.name, each.choices?.([]) === YES_NO && (YES.test(text) || NO.test(text)) ? YES.test(text) : text];
}));

/** A value of a condition in words. @param {Condition} condition @param {string} value */
export const told = (condition, value) => (condition.time ? clock(value, { ms: false }) : (condition.choices?.([]).find((each) => each.value === value)?.text ?? value));
