/** What stands round every page: sections, jump to an id, theme, help; and the page itself. */
import { bindings, useKeys } from "../lib/keys.js";
import { me, recall, remember, signOut } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { go, href, instanceHref, route } from "../lib/router.js";
import { html, signal, useEffect, useErrorBoundary, useLayoutEffect, useRef, useState } from "../lib/view.js";
import { Live } from "./basics.js";

/**
 * @typedef {object} Section
 * @property {string} page its name in the address
 * @property {string} title
 * @property {string} key after `g`
 * @property {any} view its component
 * @property {{path: string, of: (answer: any) => {text: string, bad?: boolean} | null}} [badge]
 * @property {boolean} [gap] it begins a group
 */

const THEMES = /** @type {const} */ (["system", "light", "dark"]);
const theme = signal(recall("theme") || "system");
document.documentElement.dataset.theme = theme.value;

function nextTheme() {
  const names = /** @type {readonly string[]} */ (THEMES);
  theme.value = names[(names.indexOf(theme.value) + 1) % names.length];
  remember("theme", theme.value);
  document.documentElement.dataset.theme = theme.value;
}

/** @param {{sections: Section[]}} props */
export function Shell({ sections }) {
  const { page, parts } = route.value;
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const [help, setHelp] = useState(false);
  const here = sections.find((each) => each.page === page);
  const place = [page, ...parts].join("/");
  useKeys([
    ...sections.map((each) => ({ keys: `g ${each.key}`, does: `Go to ${each.title}`, run: () => go(href(each.page)) })),
    { keys: "/", does: "Jump to an id", run: () => document.getElementById("jump")?.focus() },
    { keys: "?", does: "Show the keys", run: () => setHelp(true) },
  ]);
  useEffect(() => {
    if (!here) go(href(sections[0].page));
  }, [page]);
  useLayoutEffect(() => {
    main.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [place]);
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => { event.preventDefault(); main.current?.focus(); }}>Skip to content</a>
    <nav class="rail" aria-label="Sections">
      <a class="brand" aria-label="Sagaline" href=${href(sections[0].page)}><${Mark} /><span>Sagaline</span></a>
      <ul>${sections.map((each) => html`<${Entry} key=${each.page} section=${each} current=${each === here} />`)}</ul>
      <p class="foot"><${Live} /></p>
    </nav>
    <div class="page">
      <header class="top">
        <${Jump} />
        ${me.value.name && html`<span class="who">${me.value.name}, ${me.value.role}</span><button type="button" class="plain" onClick=${signOut}>Sign out</button>`}
        <button type="button" class="plain" onClick=${nextTheme}>Theme: ${theme.value}</button>
        <button type="button" class="plain" onClick=${() => setHelp(true)}>Keys <kbd>?</kbd></button>
      </header>
      <main id="main" tabindex="-1" ref=${main}>${here && html`<${Guarded} key=${place}><${here.view} key=${here.page} /><//>`}</main>
    </div>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}
  `;
}

/** What draws is either drawn, or says that it failed. @param {{children: any}} props */
export function Guarded({ children }) {
  const [error, again] = useErrorBoundary((found) => console.info(found));
  if (!error) return children;
  return html`<div class="failed" role="alert"><p class="strong">This page could not be drawn</p>
    <p>Nothing was changed. Try again, or go to another page; if it fails again, report this: <code>${String(error)}</code></p>
    <p class="row"><button type="button" onClick=${again}>Try again</button><button type="button" onClick=${() => location.reload()}>Load the dashboard again</button></p></div>`;
}

export const Mark = () =>
  html`<svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true"><path d="M3 5h9a4 4 0 0 1 0 8H6M9 10l-3 3 3 3" fill="none" stroke="currentColor" stroke-width="2" /></svg>`;

/** @param {{section: Section, current: boolean}} props */
function Entry({ section, current }) {
  const found = useResource(section.badge?.path ?? null);
  const badge = found.data && section.badge ? section.badge.of(found.data) : null;
  const own = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (current) own.current?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [current]);
  return html`<li ref=${own} class=${section.gap ? "gap" : ""}>
    <a href=${href(section.page)} aria-current=${current ? "page" : undefined}>${section.title}${badge && html`<span class="n ${badge.bad ? "bad" : ""}">${badge.text}</span>`}</a>
  </li>`;
}

/** Goes to an instance by its id; a key alone lists the instances that have it. */
function Jump() {
  const [text, setText] = useState("");
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const wanted = text.trim();
    if (!wanted) return;
    go(wanted.includes("/") ? instanceHref(wanted) : href("instances", [], { key: wanted }));
    setText("");
    document.getElementById("jump")?.blur();
  };
  return html`<form class="jump" role="search" onSubmit=${submit}>
    <label class="vh" for="jump">Jump to any id</label>
    <input id="jump" placeholder="Jump to any id" autocomplete="off" spellcheck=${false} value=${text}
      onInput=${(/** @type {any} */ event) => setText(event.target.value)}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && /** @type {HTMLElement} */ (event.target).blur()} />
    <kbd aria-hidden="true">/</kbd>
  </form>`;
}

/** @param {{close: () => void}} props */
function Help({ close }) {
  const shown = bindings.value.filter((each, index, all) => all.findLastIndex((other) => other.keys === each.keys) === index);
  return html`<${Dialog} title="Keys" close=${close}>
    <dl class="keys">${shown.map((each) => html`<div><dt>${each.keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${each.does}</dd></div>`)}</dl>
  <//>`;
}

/** A dialog at the side: the focus comes back to where it was. @param {{title: any, close: () => void, children: any}} props */
export function Dialog({ title, close, children }) {
  const own = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    const from = document.activeElement;
    const dialog = own.current;
    dialog?.showModal();
    /** @type {HTMLElement | null | undefined} */ (dialog?.querySelector("form :is(input, select, textarea)"))?.focus();
    return () => {
      dialog?.close();
      if (from instanceof HTMLElement) from.focus();
    };
  }, []);
  return html`<dialog class="sheet" ref=${own} onCancel=${close} aria-labelledby="sheet-title"
    onClick=${(/** @type {Event} */ event) => event.target === own.current && close()}>
    <div class="sheet-in">
      <header><h2 id="sheet-title">${title}</h2><button type="button" class="plain" onClick=${close}>Close</button></header>
      ${children}
    </div>
  </dialog>`;
}
