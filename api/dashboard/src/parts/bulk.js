/** An act on many: first the plan, then page by page with its progress. A page that failed is sent again, with the id of the plan. */
import { Problem, write } from "../lib/api.js";
import { beat } from "../lib/feed.js";
import { count } from "../lib/text.js";
import { html, useEffect, useRef, useState } from "../lib/view.js";
import { Act } from "./act.js";
import { Failed, Loading } from "./basics.js";
import { Dialog } from "./shell.js";

const SHOWN = 8;

/** @param {{title: string, what: string, path: string, body: Record<string, unknown>, danger?: boolean, close: () => void}} props */
export function Bulk({ title, what, path, body, danger = false, close }) {
  const [plan, setPlan] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const cursor = useRef(/** @type {string | null} */ (null));
  const counts = useRef(/** @type {Record<string, number>} */ ({}));
  const [done, setDone] = useState(0);
  useEffect(() => {
    write("POST", path, { ...body, dry_run: true }).then(setPlan, setProblem);
  }, []);
  if (!plan) return html`<${Dialog} title=${title} close=${close}>${problem ? html`<${Failed} problem=${problem} />` : html`<${Loading} lines=${3} />`}<//>`;
  const refused = plan.asked.filter((/** @type {any} */ each) => each.code !== null);
  const send = async (/** @type {{by: string, reason: string}} */ { by, reason }) => {
    do {
      const page = await write("POST", path, { ...body, by, reason, id: plan.id, cursor: cursor.current, dry_run: false });
      beat();
      if (page.counts.failed || page.counts.unsure) throw new Problem({ title: "It stopped", detail: `Of this page: ${told(page.counts)}. Send it again: it goes on there, and nothing is done twice.` });
      for (const [fate, many] of Object.entries(page.counts)) counts.current[fate] = (counts.current[fate] ?? 0) + Number(many);
      setDone((before) => before + page.asked.length);
      cursor.current = page.cursor;
    } while (cursor.current);
    return counts.current;
  };
  return html`<${Act} title=${title} button=${title} danger=${danger} close=${close} blocked=${plan.asked.length ? "" : "Nothing is like this."}
    does=${html`<p>${count(plan.asked.length, what)}${plan.cursor ? " on the first page, and those after it" : ""}: ${told(plan.counts)}.</p>
      <ul class="steps">${plan.asked.filter((/** @type {any} */ each) => each.code === null).slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><code>${each.instance ?? each.id}</code></li>`)}</ul>
      ${refused.length > 0 && html`<p>Not possible:</p><ul class="steps">${refused.slice(0, SHOWN).map((/** @type {any} */ each) => html`<li><code>${each.instance ?? each.id}</code> ${each.reason}</li>`)}</ul>`}
      ${done > 0 && html`<p role="status">${count(done, what)} so far.</p>`}`}
    send=${send} told=${(/** @type {any} */ answer) => `${told(answer)}.`} />`;
}

/** @param {Record<string, number>} counts */
const told = (counts) => Object.entries(counts).filter(([, many]) => many > 0).map(([fate, many]) => `${many} ${fate}`).join(", ") || "nothing to do";
