/** The small parts: icons, status pills, times, ids, menus, panels, and the states of a panel. */
import { heard, now } from "../lib/feed.js";
import { ago, clock, full, span } from "../lib/text.js";
import { html, useId, useLayoutEffect, useRef, useState } from "../lib/view.js";
import { ICONS, statusLook, stepLook } from "../lib/words.js";

/** @typedef {import("../lib/view.js").Children} Children */

/** @param {{path: string}} props */
export const Icon = ({ path }) =>
  html`<svg class="icon" viewBox="0 0 12 12" aria-hidden="true"><path d=${path} /></svg>`;

/** @param {{status: string, paused?: boolean}} props */
export function Status({ status, paused = false }) {
  const { word, tone, icon } = statusLook(status);
  return html`<span class="pill ${tone}"><${Icon} path=${icon} />${word}</span>${paused &&
    html` <span class="pill off"><${Icon} path=${ICONS.bars} />Paused</span>`}`;
}

/** @param {{status: string}} props */
export function StepStatus({ status }) {
  const { word, tone, icon } = stepLook(status);
  return html`<span class="pill ${tone}"><${Icon} path=${icon} />${word}</span>`;
}

/** A time as people say it; all of it when asked. @param {{at: string | null, none?: string}} props */
export const Ago = ({ at, none = "–" }) => (at ? html`<time datetime=${at} title=${full(at)}>${ago(at, now.value)}</time>` : none);

/** A time as a table shows it. @param {{at: string | null, none?: string}} props */
export const At = ({ at, none = "–" }) =>
  at ? html`<time datetime=${at} title="${ago(at, now.value)}, ${full(at)}">${clock(at)}</time>` : none;

/** An id, whole, with a copy act. @param {{id: string, children?: Children}} props */
export function Id({ id, children }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(id);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<span class="id">${children ?? html`<code>${id}</code>`}<button
      class="copy" type="button" onClick=${copy} aria-label="Copy ${id}" title=${copied ? "Copied" : "Copy"}
      ><svg class="icon" viewBox="0 0 12 12" aria-hidden="true"><path d=${copied ? ICONS.check : "M4 4h6v6H4zM2 8V2h6"} /></svg></button
    ><span class="vh" role="status">${copied ? "copied" : ""}</span></span>`;
}

/** @param {{title: Children, note?: Children, more?: Children, class?: string, children: Children}} props */
export const Panel = ({ title, note, more, class: name = "", children }) =>
  html`<section class="panel ${name}"><h2>${title} ${note && html`<span class="soft">${note}</span>`}${more}</h2>${children}</section>`;

/** @param {{title: string, children?: Children}} props */
export const Empty = ({ title, children }) => html`<div class="empty"><p class="strong">${title}</p>${children && html`<p class="soft">${children}</p>`}</div>`;

/** In the shape of what comes: so many lines. @param {{lines?: number}} props */
export const Loading = ({ lines = 5 }) =>
  html`<div class="loading" role="status"><span class="vh">Loading</span>${Array.from({ length: lines }, () => html`<i></i>`)}</div>`;

/** @param {{problem: import("../lib/api.js").Problem, retry?: () => void}} props */
export const Failed = ({ problem, retry }) =>
  html`<div class="failed" role="alert">
    <p class="strong">${problem.title}</p>
    <p>${problem.message}</p>
    ${problem.trace && html`<p class="soft">The server's log has more under the trace id <code>${problem.trace}</code>.</p>`}
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;

/**
 * One of the states of what is read: not yet, failed, there (perhaps old).
 * @template T
 * @param {{of: import("../lib/resource.js").Resource<T>, lines?: number, children: (data: T) => Children}} props
 */
export function Reading({ of, lines, children }) {
  if (of.data === null) {
    if (of.error) return html`<${Failed} problem=${of.error} retry=${of.reload} />`;
    return of.slow ? html`<${Loading} lines=${lines} />` : html`<div class="blank"></div>`;
  }
  return html`${of.stale && html`<${Stale} at=${of.at} problem=${of.error} retry=${of.reload} />`}${children(of.data)}`;
}

/** @param {{at: number, problem: any, retry: () => void}} props */
const Stale = ({ at, problem, retry }) =>
  html`<p class="stale" role="status">
    As it was ${span(Math.max(now.value - at, 1000))} ago: ${problem.message}
    <button type="button" onClick=${retry}>Try again</button>
  </p>`;

/** Whether what is shown is live. */
export function Live() {
  const { alive, at } = heard.value;
  if (alive) return html`<span class="live"><i class="lamp ok"></i>Live</span>`;
  return html`<span class="live"><i class="lamp bad"></i>No answer<span class="roomy"> for ${span(Math.max(now.value - at, 1000))}, trying again</span></span>`;
}

/**
 * A button that shows something below itself: a list of acts, or of choices. Escape and a click elsewhere close it.
 * @param {{label: any, children: any, end?: boolean, class?: string}} props
 */
export function Menu({ label, children, end = false, class: name = "" }) {
  const [open, setOpen] = useState(false);
  const own = useRef(/** @type {HTMLElement | null} */ (null));
  const id = useId();
  useLayoutEffect(() => {
    if (!open) return undefined;
    const close = (/** @type {Event} */ event) => {
      if (event.target instanceof Node && own.current?.contains(event.target)) return;
      setOpen(false);
    };
    addEventListener("pointerdown", close);
    /** @type {HTMLElement | null | undefined} */ (own.current?.querySelector(".menu button:not(:disabled), .menu input, .menu select"))?.focus();
    return () => removeEventListener("pointerdown", close);
  }, [open]);
  const shut = () => {
    own.current?.querySelector("button")?.focus();
    setTimeout(() => setOpen(false));
  };
  const keyed = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" && open) {
      event.stopPropagation();
      shut();
    }
  };
  return html`<span class="has-menu" ref=${own} onKeyDown=${keyed} onFocusOut=${(/** @type {FocusEvent} */ event) => event.relatedTarget instanceof Node && !own.current?.contains(event.relatedTarget) && setOpen(false)}>
    <button type="button" class=${name} aria-expanded=${open} aria-controls=${id} onClick=${() => setOpen(!open)}>${label}</button>
    ${open && html`<div class="menu ${end ? "end" : ""}" id=${id} onClickCapture=${(/** @type {any} */ event) => event.target.closest("button[data-close]") && shut()}>${children}</div>`}
  </span>`;
}
