/** Instances: conditions as chips, columns as chosen, the address is all of it. New ones announce themselves. */
import { ACTS } from "../lib/acts.js";
import { query as search } from "../lib/api.js";
import { asked, wanted } from "../lib/conditions.js";
import { forbidden, me, recall, remember } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { go, href, instanceHref, route, setQuery } from "../lib/router.js";
import { count } from "../lib/text.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib/view.js";
import { causeText } from "../lib/words.js";
import { Ago, At, Empty, Id, Menu, Reading, Status } from "../parts/basics.js";
import { Bulk } from "../parts/bulk.js";
import { Chips } from "../parts/chips.js";
import { Labelled } from "../parts/form.js";
import { Table } from "../parts/table.js";
import { Instance } from "./instance.js";

const PAGE = 50;

/** @type {import("../parts/table.js").Column<any>[]} */
const COLUMNS = [
  { name: "key", title: "Key", sort: "key", cell: (row) => html`<a class="mono" href=${instanceHref(row.id)}>${row.key}</a>` },
  { name: "definition", title: "Definition", sort: "definition", cell: (row) => row.definition },
  { name: "status", title: "Status", sort: "status", cell: (row) => html`<${Status} status=${row.status} paused=${row.paused} />` },
  { name: "why", title: "Why", cell: (row) => html`<span class="cut" title=${why(row)}>${why(row)}</span>` },
  { name: "started", title: "Started", sort: "created_at", cell: (row) => html`<${At} at=${row.created_at} />` },
  { name: "changed", title: "Changed", sort: "updated_at", cell: (row) => html`<${Ago} at=${row.updated_at} />` },
  { name: "ended", title: "Ended", cell: (row) => html`<${At} at=${row.finished_at} />` },
  { name: "version", title: "Version", sort: "version", number: true, cell: (row) => row.version },
  { name: "revision", title: "Revision", number: true, cell: (row) => row.revision },
  { name: "trace", title: "Trace", cell: (row) => (row.trace_id ? html`<${Id} id=${row.trace_id} />` : "–") },
];
const NEWEST = "-created_at";
const SHOWN = "key,definition,status,why,started,changed";

/** @param {any} row */
function why(row) {
  const cause = row.attention ?? row.cause;
  return cause ? causeText(cause) : "";
}

export function Instances() {
  const { parts } = route.value;
  return parts.length > 1 ? html`<${Instance} key=${parts.join("/")} id=${parts.join("/")} />` : html`<${List} />`;
}

function List() {
  const { query } = route.value;
  const conditions = asked(query);
  const sort = query.sort ?? NEWEST;
  const pages = Object.entries({ sort, cursor: query.cursor ?? "", limit: String(PAGE) }).filter(([, value]) => value);
  const found = useResource(`/v1/instances${search([...conditions, .../** @type {[string, string][]} */ (pages)])}`);
  const counted = useResource(`/v1/instances/count${search(conditions)}`);
  const definitions = useResource("/v1/definitions", { live: false });
  const names = [...new Set((definitions.data?.definitions ?? []).map((/** @type {any} */ each) => each.name))];
  const chosen = (query.columns ?? SHOWN).split(",");
  useEffect(() => {
    document.title = "Instances · Sagaline";
  }, []);
  return html`
    <div class="head"><h1>Instances</h1>
      <span class="meta" role="status">${counted.data && `${counted.data.exact ? "" : "more than "}${count(counted.data.count, "instance")}`}</span>
      <span class="acts"><${Many} label="Act on all of these" body=${wanted(query)} /><${Views} /><${Columns} chosen=${chosen} /></span></div>
    <${Chips} definitions=${names} />
    <section class="panel flush"><${Reading} of=${found} lines=${8}>${(/** @type {any} */ data) =>
      html`<${Rows} key=${search(conditions) + sort + (query.cursor ?? "")} page=${data} sort=${sort} columns=${COLUMNS.filter((each) => chosen.includes(each.name))}
        filtered=${conditions.length > 0} first=${!query.cursor} />`}<//></section>
  `;
}

/**
 * The rows as they were when they were first seen, each as it is now; newer ones come in when asked.
 * @param {{page: any, sort: string, columns: any[], filtered: boolean, first: boolean}} props
 */
function Rows({ page, sort, columns, filtered, first }) {
  const kept = useRef(/** @type {Map<string, any>} */ (new Map()));
  const [, redraw] = useState(0);
  const [picked, pick] = useState(/** @type {Set<string>} */ (new Set()));
  const onPick = useMemo(() => (forbidden("operate") ? undefined : (/** @type {string} */ id) => pick((old) => new Set(old.has(id) ? [...old].filter((each) => each !== id) : [...old, id]))), [me.value]);
  const shown = kept.current;
  const known = shown.size > 0;
  const fresh = page.instances.filter((/** @type {any} */ each) => !shown.has(each.id));
  if (!known) for (const each of fresh) shown.set(each.id, each);
  for (const each of page.instances) if (shown.has(each.id)) shown.set(each.id, each);
  const news = known ? fresh : [];
  const here = new Set(page.instances.map((/** @type {any} */ each) => each.id));
  const gone = new Set([...shown.keys()].filter((each) => !here.has(each)));
  const take = () => {
    kept.current = new Map(page.instances.map((/** @type {any} */ each) => [each.id, each]));
    redraw((times) => times + 1);
  };
  if (!shown.size) {
    return filtered
      ? html`<${Empty} title="No instance is like this">Remove a condition to see more.<//>`
      : html`<${Empty} title="No instance has been started yet">Start one with <code>saga start</code>, or <code>POST /v1/sagas/…</code>; it appears here by itself.<//>`;
  }
  return html`
    <p class="news" role="status">${(news.length > 0 || gone.size > 0) && html`<button type="button" onClick=${take}>${[news.length && `${news.length} ${sort === NEWEST ? "new" : "more"}`, gone.size && `${gone.size} no longer ${page.cursor === null && first ? "like this" : "on this page"}`].filter(Boolean).join(", ")}: show it as it is now</button>`}</p>
    ${picked.size > 0 && html`<p class="news row" role="status">${count(picked.size, "instance")} selected <${Many} label="Act on these" body=${{ instances: [...picked] }} /><button type="button" class="plain" onClick=${() => pick(new Set())}>Select none</button></p>`}
    <${Table} label="Instances" picked=${picked} onPick=${onPick} columns=${columns} rows=${[...shown.values()]} dim=${(/** @type {any} */ row) => gone.has(row.id)} sort=${sort} onSort=${(/** @type {string} */ by) => setQuery({ sort: by === NEWEST ? null : by, cursor: null })} id=${(/** @type {any} */ row) => row.id} open=${(/** @type {any} */ row) => go(instanceHref(row.id))} />
    <p class="pages"><span class="soft">${count(shown.size, "instance")}${page.cursor || !first ? " on this page" : ""}${sort === NEWEST ? ", newest start first" : ""}</span>
      ${!first && html`<button type="button" onClick=${() => setQuery({ cursor: null })}>First page</button>`}
      ${page.cursor && html`<button type="button" onClick=${() => setQuery({ cursor: page.cursor })}>Next page</button>`}</p>
  `;
}

const MANY = ACTS.filter((each) => ["retry", "pause", "resume", "cancel", "abandon"].includes(each.name));

/** An act on the instances that the body names, by a plan. @param {{label: string, body: Record<string, unknown>}} props */
function Many({ label, body }) {
  const [act, setAct] = useState(/** @type {import("../lib/acts.js").ActWords | null} */ (null));
  const reason = forbidden("operate") || (Object.keys(body).length ? "" : "Choose a condition first: it says which instances are meant.");
  return html`<${Menu} label=${label} end>${reason ? html`<p class="pad soft">${reason}</p>` : MANY.map((each) => html`<button type="button" data-close key=${each.name} onClick=${() => setAct(each)}>${each.title}<small>${each.does}</small></button>`)}<//>
    ${act && html`<${Bulk} title="${act.title} ${label.slice(7)}" what="instance" path="/v1/bulk" body=${{ ...body, act: act.name }} danger=${act.danger} close=${() => setAct(null)} />`}`;
}

/** Conditions, sort and columns under a name, in this browser. */
function Views() {
  const [views, setViews] = useState(saved);
  const [name, setName] = useState("");
  const { cursor, ...query } = route.value.query;
  const keep = (/** @type {View[]} */ next) => {
    remember("views", JSON.stringify(next));
    setViews(next);
  };
  const add = (/** @type {Event} */ event) => {
    event.preventDefault();
    keep([...views.filter((each) => each.name !== name.trim()), { name: name.trim(), query }]);
    setName("");
  };
  return html`<${Menu} label="Views" end>
    ${views.map((each) => html`<div class="pair" key=${each.name}><button type="button" data-close onClick=${() => go(href("instances", [], each.query))}>${each.name}</button><button type="button" class="plain" aria-label="Remove the view ${each.name}" onClick=${() => keep(views.filter((other) => other !== each))}>×</button></div>`)}
    <form class="pad stack" onSubmit=${add}><${Labelled} title="Keep this view as" hint="In this browser; its address can be shared">${(/** @type {any} */ tied) => html`<input ...${tied} required maxlength="60" pattern=".*\\S.*" value=${name} onInput=${(/** @type {any} */ event) => setName(event.target.value)} />`}<//><button>Keep</button></form><//>`;
}

/** @typedef {{name: string, query: Record<string, string>}} View */
/** @returns {View[]} */
function saved() {
  try {
    return JSON.parse(recall("views") || "[]");
  } catch {
    return [];
  }
}

/** @param {{chosen: string[]}} props */
function Columns({ chosen }) {
  const toggle = (/** @type {string} */ name) => {
    const now = chosen.includes(name) ? chosen.filter((each) => each !== name) : COLUMNS.map((each) => each.name).filter((each) => each === name || chosen.includes(each));
    setQuery({ columns: now.join(",") === SHOWN ? null : now.join(",") }, { step: false });
  };
  return html`<${Menu} label="Columns" end>${COLUMNS.map(
    (each) => html`<label class="check"><input type="checkbox" checked=${chosen.includes(each.name)} disabled=${each.name === "key"} onChange=${() => toggle(each.name)} />${each.title}</label>`,
  )}<//>`;
}
