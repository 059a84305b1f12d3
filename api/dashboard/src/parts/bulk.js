/** An act on many: first the plan, then page by page with its progress. A page that failed ends it, so that it can be repeated. */
import { Problem, write } from "../lib/api.js";
import { beat } from "../lib/feed.js";
import { count } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { Act } from "./act.js";
import { Failed, Loading } from "./basics.js";
import { Dialog } from "./shell.js";

const SHOWN = 8;

/** @param {{title: string, what: string, path: string, body: Record<string, unknown>, danger?: boolean, close: () => void}} props */
export function Bulk({ title, what, path, body, danger = false, close }) {
  const [plan, setPlan] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [done, setDone] = useState(0);
  useEffect(() => {
    write("POST", path, { ...body, dry_run: true }).then(setPlan, setProblem);
  }, []);
  if (!plan) return html`<${Dialog} title=${title} close=${close}>${problem ? html`<${Failed} problem=${problem} />` : html`<${Loading} lines=${3} />`}<//>`;
  const refused = plan.asked.filter((/** @type {any} */ each) => each.code !== null);
  const send = async (/** @type {any} */ who) => {
    /** @type {Record<string, number>} */
    const counts = {};
    let page = { cursor: null, id: null, counts: /** @type {any} */ ({}), asked: /** @type {any[]} */ ([]) };
    do {
      page = await write("POST", path, { ...body, ...who, id: page.id, cursor: page.cursor, dry_run: false });
      for (const [fate, many] of Object.entries(page.counts)) counts[fate] = (counts[fate] ?? 0) + Number(many);
      const asked = page.asked.length;
      setDone((before) => before + asked);
    } while (page.cursor && !page.counts.failed && !page.counts.unsure);
    beat();
    return { ...page, counts };
  };
  return html`<${Act} title=${title} button=${title} danger=${danger} close=${close} blocked=${plan.asked.length ? "" : "Nothing is like this."}
    does=${html`<p>${count(plan.asked.length, what)}${plan.cursor ? " on the first page, and those after it" : ""}: ${told(plan.counts)}.</p>
      <ul class="steps">${plan.asked.filter((/** @type {any} */ each) => each.code === null).slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><code>${each.instance ?? each.id}</code></li>`)}</ul>
      ${refused.length > 0 && html`<p>Not possible:</p><ul class="steps">${refused.slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><code>${each.instance ?? each.id}</code> ${each.reason}</li>`)}</ul>`}
      ${done > 0 && html`<p role="status">${count(done, what)} so far.</p>`}`}
    send=${send} told=${(/** @type {any} */ answer) => `${told(answer.counts)}.${answer.cursor ? " It stopped there: do it again, nothing is done twice." : ""}`} />`;
}

/** @param {Record<string, number>} counts */
const told = (counts) => Object.entries(counts).filter(([, many]) => many > 0).map(([fate, many]) => `${many} ${fate}`).join(", ") || "nothing to do";
