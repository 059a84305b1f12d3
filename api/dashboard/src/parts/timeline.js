/** The run over time: a lane for each step, its undo in the same lane, idle time folded, a mark for now. */
import { instancePath } from "../lib/api.js";
import { now } from "../lib/feed.js";
import { useResource } from "../lib/resource.js";
import { clock, span } from "../lib/text.js";
import { html } from "../lib/view.js";
import { Empty, Reading } from "./basics.js";

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
