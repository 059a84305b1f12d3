/** An act in a side sheet: what it will do, what it needs, why; then its result in place. */
import { Problem, write } from "../lib/api.js";
import { beat } from "../lib/feed.js";
import { me, recall, remember } from "../lib/me.js";
import { html, useLayoutEffect, useRef, useState } from "../lib/view.js";
import { Failed } from "./basics.js";
import { Labelled } from "./form.js";
import { Dialog } from "./shell.js";

/** An id that nobody else has. */
const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");

/**
 * What was sent and got no answer is sent again with the same id, so that it acts once.
 * @param {{
 *   title: string, does: any, button: string, danger?: boolean, needsReason?: boolean, asks?: boolean, children?: any, blocked?: string,
 *   send: (who: {by: string, reason: string, request_id: string}) => Promise<any>, told: (answer: any) => any, close: () => void,
 * }} props
 */
export function Act({ title, does, button, danger = false, needsReason = true, asks = true, children, blocked = "", send, told, close }) {
  const [by, setBy] = useState(me.value.name || recall("name"));
  const [reason, setReason] = useState("");
  const id = useRef(fresh());
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const back = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => back.current?.focus(), [answer]);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    remember("name", by);
    try {
      setAnswer(await send({ by: me.value.name ? "" : by, reason, request_id: id.current }));
      beat();
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem({ detail: String(error) });
      if (problem.status >= 400 && problem.status < 500) id.current = fresh();
      setProblem(problem);
    }
    setBusy(false);
  };
  if (answer) {
    const accepted = answer.status === 202;
    return html`<${Dialog} title=${title} close=${close}><div class="done" role="status"><p class="strong">${accepted ? "It is in the log and will be decided." : told(answer)}</p>
      <p class="soft">The history has who did it, when and why.</p></div><p class="row"><button type="button" ref=${back} onClick=${close}>Back</button></p><//>`;
  }
  return html`<${Dialog} title=${title} close=${close}>
    <div class="does">${does}</div>
    <form onSubmit=${submit}>
      ${children}
      ${asks && !me.value.name && html`<${Labelled} title="Your name" hint="Kept in the history">${(/** @type {any} */ tied) => html`<input ...${tied} value=${by} maxlength="256" autocomplete="name" onInput=${(/** @type {any} */ event) => setBy(event.target.value)} />`}<//>`}
      ${asks && html`<${Labelled} title=${needsReason ? "Why" : "Why (optional)"} hint="Kept in the history">${(/** @type {any} */ tied) => html`<textarea ...${tied} rows="2" maxlength="2000" required=${needsReason} value=${reason} onInput=${(/** @type {any} */ event) => setReason(event.target.value)}></textarea>`}<//>`}
      ${problem && html`<${Failed} problem=${problem} />${problem.errors.map((each) => html`<p class="soft"><code>${each.field}</code> ${each.message}</p>`)}`}
      ${blocked && html`<p class="strong">${blocked}</p>`}
      <p class="row"><button class=${danger ? "danger" : "primary"} disabled=${busy || Boolean(blocked)}>${busy ? "Sending…" : button}</button><button type="button" onClick=${close}>Leave it</button></p>
    </form>
  <//>`;
}

/** @param {string} path @param {Record<string, unknown>} body */
export const post = (path, body) => write("POST", path, body);
