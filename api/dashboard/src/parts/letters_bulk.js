/** Many dead letters at once: first the plan, then page by page with its progress; it can be stopped between pages. */
import { Problem, write } from "../lib/api.js";
import { beat } from "../lib/feed.js";
import { count } from "../lib/text.js";
import { html, useEffect, useState } from "../lib/view.js";
import { Act } from "./act.js";
import { Failed, Loading } from "./basics.js";
import { Dialog } from "./shell.js";

/** @param {{act: string, fingerprint: string, close: () => void}} props */
export function Bulk({ act, fingerprint, close }) {
  const [plan, setPlan] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [done, setDone] = useState(0);
  const where = { fingerprint };
  useEffect(() => {
    write("POST", "/v1/dead/bulk", { act, where, dry_run: true }).then(setPlan, setProblem);
  }, []);
  const title = `${act === "redrive" ? "Redrive" : "Discard"} all of a failure`;
  if (!plan) return html`<${Dialog} title=${title} close=${close}>${problem ? html`<${Failed} problem=${problem} />` : html`<${Loading} lines=${3} />`}<//>`;
  const refused = plan.asked.filter((/** @type {any} */ each) => each.code !== null);
  const send = async (/** @type {any} */ who) => {
    let page = await write("POST", "/v1/dead/bulk", { ...who, act, where, dry_run: false });
    /** @type {Record<string, number>} */
    const total = { ...page.counts };
    setDone(page.asked.length);
    // What is unsure or failed is sent again from the first page, so that the order of its key holds.
    while (page.cursor && !page.counts.failed && !page.counts.unsure) {
      page = await write("POST", "/v1/dead/bulk", { ...who, act, where, id: page.id, dry_run: false, cursor: page.cursor });
      for (const [fate, many] of Object.entries(page.counts)) total[fate] = (total[fate] ?? 0) + Number(many);
      setDone((before) => before + page.asked.length);
    }
    beat();
    return { ...page, counts: total };
  };
  return html`<${Act} title=${title} button=${title} danger=${act === "discard"} close=${close}
    does=${html`<p>${count(plan.asked.length, "letter")}${plan.cursor ? " on the first page, and those after it" : ""}: ${told(plan.counts)}.</p>
      ${refused.length > 0 && html`<ul class="steps">${refused.slice(0, 5).map((/** @type {any} */ each) => html`<li><code>${each.id}</code> ${each.reason}</li>`)}</ul>`}
      ${done > 0 && html`<p role="status">${count(done, "letter")} so far.</p>`}`}
    send=${send} told=${(/** @type {any} */ answer) => `${told(answer.counts)}.${answer.cursor ? " It stopped there: do it again, nothing is done twice." : ""}`} />`;
}

/** @param {Record<string, number>} counts */
const told = (counts) => Object.entries(counts).filter(([, many]) => many > 0).map(([fate, many]) => `${many} ${fate.replaceAll("_", " ")}`).join(", ") || "nothing to do";
