/**
 * The run over time: a lane for each step, its undo in the same lane, idle time folded, a mark for now. And the runs that
 * it has started by a `run` or an `each`: their keys begin with its id.
 */
import { instancePath, query } from "../lib/api.js";
import { now } from "../lib/feed.js";
import { useResource } from "../lib/resource.js";
import { instanceHref } from "../lib/router.js";
import { clock, count, span } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { causeText } from "../lib/words.js";
import { Empty, Panel, Reading, Status } from "./basics.js";

/** @typedef {{from: number, to: number, left: number, width: number, folded: boolean}} Stretch */

const FOLDED_TIMES = 4;
const FOLDED_WEIGHT = 1.5;

/**
 * The axis: stretches between the moments at which something happened. One that is much longer than the usual ones is
 * folded. `left` and `width` are parts of 1.
 * @param {number[]} moments @returns {Stretch[]}
 */
function axis(moments) {
  const sorted = [...new Set(moments)].sort((one, other) => one - other);
  const gaps = sorted.slice(1).map((each, index) => each - sorted[index]);
  if (!gaps.length) return [];
  const ordered = [...gaps].sort((one, other) => one - other);
  const usual = ordered[Math.floor((ordered.length - 1) * 0.6)];
  const longest = Math.max(usual * FOLDED_TIMES, 1);
  const least = longest / 20;
  const weights = gaps.map((each) => (each > longest ? longest * FOLDED_WEIGHT : Math.max(each, least)));
  const total = weights.reduce((sum, each) => sum + each, 0);
  let left = 0;
  return gaps.map((gap, index) => {
    const width = weights[index] / total;
    const stretch = { from: sorted[index], to: sorted[index + 1], left, width, folded: gap > longest };
    left += width;
    return stretch;
  });
}

/** Where a moment is on the axis, as a part of 1. @param {Stretch[]} stretches @param {number} at */
function place(stretches, at) {
  const found = stretches.find((each) => at <= each.to) ?? stretches.at(-1);
  if (!found) return 0;
  const part = found.to === found.from ? 0 : Math.min(Math.max((at - found.from) / (found.to - found.from), 0), 1);
  return found.left + part * found.width;
}

/** Marks of the axis that do not touch: `{at, left}`. @param {Stretch[]} stretches @param {number} apart */
function ticks(stretches, apart = 0.14) {
  /** @type {{at: number, left: number}[]} */
  const found = [];
  for (const each of stretches) {
    if (each.left > 0.9) break;
    const last = found.at(-1);
    if (!last || each.left - last.left >= apart) found.push({ at: each.from, left: each.left });
  }
  return found;
}

const percent = (/** @type {number} */ part) => `${(part * 100).toFixed(3)}%`;

/** How a bar is drawn, by the status that ended it, or else by its own. @type {Record<string, string>} */
const LOOKS = { done: "ok", undone: "undone", failed: "bad", rejected: "bad", backoff: "bad", blocked: "bad", undo_failed: "bad", undo_backoff: "bad", sent: "run", undo_sent: "undo" };

/** @param {any} bar */
const look = ({ kind, status, then }) => (kind === "wait" && !/done|failed|blocked/.test(then ?? status) ? "wait" : (LOOKS[then ?? status] ?? "wait"));

/** The last run of an instance, of so many decisions at most. @param {{of: string, limit: number}} props */
export function Timeline({ of, limit }) {
  const found = useResource(`${instancePath(of)}/timeline?limit=${limit}`, { of });
  return html`<${Reading} of=${found}>${(/** @type {any} */ run) => html`<${Bars} ...${run} />`}<//>`;
}

/** @param {{lanes: any[], begin: string, end: string | null}} props */
function Bars({ lanes, begin, end }) {
  if (!lanes.length) return html`<${Empty} title="Nothing has run yet" />`;
  const began = Date.parse(begin);
  const until = end ? Date.parse(end) : Math.max(now.value, ...lanes.flatMap((lane) => lane.bars.map((/** @type {any} */ bar) => Date.parse(bar.begin))));
  const rows = lanes.map((lane) => ({ ...lane, spans: lane.bars.map((/** @type {any} */ bar) => ({ ...bar, from: Date.parse(bar.begin), to: bar.end ? Date.parse(bar.end) : until })) }));
  const moments = [began, until, ...rows.flatMap((row) => row.spans.flatMap((/** @type {any} */ each) => [each.from, each.to]))];
  const stretches = axis(moments);
  return html`<div class="tl">
    ${rows.map((row) => html`<div class="lane" key=${row.name}>
      <b style=${{ paddingInlineStart: `${row.within.length * 10}px` }}>${row.name}</b>
      <div class="track">
        ${stretches.filter((each) => each.folded).map((each) => html`<u style=${{ left: percent(each.left), width: percent(each.width) }}></u>`)}
        ${row.spans.map((/** @type {any} */ each) => {
          const left = place(stretches, each.from);
          const said = [each.status, each.then].filter(Boolean).join(" → ").replaceAll("_", " ");
          const text = `${row.name}: ${said}, ${span(each.to - each.from)}, from ${each.cut ? "before " : ""}${clock(each.begin)}`;
          return html`<i class="${look(each)} ${each.end ? "" : "now"}" role="img" aria-label=${text} title=${text}
            style=${{ left: percent(left), width: `max(4px, ${percent(place(stretches, each.to) - left)})` }}></i>`;
        })}
      </div>
    </div>`)}
    <div class="lane axis" aria-hidden="true"><b></b><div class="track">
      ${ticks(stretches).map((each) => html`<span style=${{ left: percent(each.left) }}>${span(each.at - began) === "0 ms" ? "0" : span(each.at - began)}</span>`)}
      ${end === null && html`<span class="at-now">now</span>`}
    </div></div>
    ${stretches.some((each) => each.folded) && html`<p class="soft note">Folded, as nothing happened: ${stretches.filter((each) => each.folded).map((each) => span(each.to - each.from)).join(", ")}.</p>`}
  </div>`;
}

const SHOWN = 50;

/** Nothing where there are none. @param {{of: string, nested?: boolean}} props */
export function Children({ of, nested = false }) {
  const [some, setSome] = useState(false);
  const found = useResource(`/v1/instances${query({ key_prefix: `${of}/`, sort: "created_at", limit: SHOWN })}`, some ? {} : { of });
  const children = found.data?.instances ?? [];
  if (children.length > 0 !== some) setSome(!some);
  if (!children.length) return null;
  const rows = html`<ul class="plainlist">${children.map((/** @type {any} */ each) => html`<${Child} key=${each.id} child=${each} of=${of} />`)}</ul>`;
  return nested ? rows : html`<${Panel} title="Children" note=${`${count(children.length, "instance")}${found.data.cursor ? " or more" : ""}, in the order of their start`}>${rows}<//>`;
}

/** @param {{child: any, of: string}} props */
function Child({ child, of }) {
  const [open, setOpen] = useState(false);
  const cause = child.attention ?? child.cause;
  return html`<li><details onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}>
    <summary><b>${child.key.slice(of.length + 1).replace(/~[a-z0-9]+/, "")}</b> <${Status} status=${child.status} paused=${child.paused} /> <span class="soft">${child.definition}</span></summary>
    ${open && html`<div class="inside stack"><p><a href=${instanceHref(child.id)}>All of it</a>${cause && `: ${causeText(cause)}`}</p><${Timeline} of=${child.id} limit=${200} /><${Children} of=${child.id} nested /></div>`}</details></li>`;
}
