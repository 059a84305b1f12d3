/** The acts on an instance: how they are called, what they do, and what they need. */

import { forbidden } from "./me.js";
import { capital } from "./text.js";

/**
 * @typedef {object} ActWords
 * @property {string} name as the route has it
 * @property {string} title
 * @property {string} does one sentence
 * @property {boolean} [danger] it undoes or gives something up
 * @property {boolean} [step] it is about one step
 */

/** @type {ActWords[]} */
export const ACTS = [
  { name: "retry", title: "Retry", does: "What put it into attention is tried again; if that works, it goes on by itself." },
  { name: "pause", title: "Pause", does: "No more commands are sent until it is resumed. Replies still count; deadlines go on." },
  { name: "resume", title: "Resume", does: "It goes on from where it was paused." },
  { name: "cancel", title: "Cancel", does: "Everything that took effect, or may have, is undone, last first.", danger: true },
  { name: "answer", title: "Answer", does: "The answer is put into the state, and it goes on.", step: true },
  { name: "claim", title: "Claim", does: "From then on nobody else may answer the question.", step: true },
  { name: "assign", title: "Assign", does: "The question is for one person from then on.", step: true },
  { name: "waive", title: "Accept the loss", does: "The undo is given up: its effect stays. Your reason is the evidence.", danger: true, step: true },
  { name: "replace-undo", title: "Undo in another way", does: "The undo is tried again with another command.", step: true },
  { name: "skip", title: "Skip", does: "The step counts as done, with the reply that you give.", step: true },
  { name: "restart", title: "Restart from here", does: "The steps from this one on are undone, then run again.", danger: true, step: true },
  { name: "edit", title: "Edit the state", does: "A JSON Patch is applied to the state. What does not fit the model is denied and changes nothing." },
  { name: "fork", title: "Fork from here", does: "Another instance starts at this step, with what the steps before it did.", step: true },
  { name: "revise", title: "Change the stops", does: "The stops that lie ahead are replaced." },
  { name: "abandon", title: "Abandon", does: "It is closed as it is. Nothing is undone; the history lists what stays.", danger: true },
];

/** The likely ones, which stand beside the title. @type {Record<string, string[]>} */
const LIKELY = { running: ["pause", "cancel"], compensating: ["pause"], attention: ["retry", "cancel", "abandon"] };

/**
 * Each act with the steps it is possible on, or with the reason why it is not possible now or not allowed.
 * @param {any} instance @param {any} inspection
 * @returns {{act: ActWords, steps: string[], open: boolean, reason: string, likely: boolean}[]}
 */
export function possible(instance, inspection) {
  const likely = instance.paused ? ["resume", "cancel"] : (LIKELY[instance.status] ?? []);
  return ACTS.map((act) => {
    const steps = inspection.on_steps.filter((/** @type {any} */ each) => each.act === act.name).map((/** @type {any} */ each) => each.step);
    const open = inspection.acts.includes(act.name) || steps.length > 0;
    const denied = act.name === "cancel" && inspection.cancel.reason ? `${capital(inspection.cancel.reason)}.` : `Not possible while it is ${instance.paused ? "paused" : instance.status}.`;
    const permission = act.name === "answer" || act.name === "claim" ? "start" : "operate";
    return { act, steps, open, reason: open ? forbidden(permission) : denied, likely: likely.includes(act.name) };
  });
}
