/**
 * What instances can be asked for: each condition is a chip, a parameter of the address and one of the route. Another
 * condition is another entry here.
 */
import { STATUS_NAMES, statusLook } from "./words.js";

/**
 * @typedef {object} Condition
 * @property {string} name
 * @property {string} title
 * @property {(definitions: string[]) => {value: string, text: string}[] | null} choices null: any text
 */

/** @type {Condition[]} */
export const CONDITIONS = [
  { name: "status", title: "Status", choices: () => STATUS_NAMES.map((value) => ({ value, text: statusLook(value).word })) },
  { name: "definition", title: "Definition", choices: (definitions) => definitions.map((value) => ({ value, text: value })) },
  { name: "key", title: "Key", choices: () => null },
];

/** The conditions of an address, as parameters of the route. @param {Record<string, string>} query */
export const asked = (query) =>
  Object.fromEntries(CONDITIONS.filter((each) => query[each.name]).map((each) => [each.name, query[each.name]]));

/** A condition in words. @param {Condition} condition @param {string} value */
export const told = (condition, value) => `${condition.title}: ${condition.choices([])?.find((each) => each.value === value)?.text ?? value}`;
