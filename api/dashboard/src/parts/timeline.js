/** The run over time: a lane for each step, its undo in the same lane, idle time folded, a mark for now. */
import { instancePath } from "../lib/api.js";
import { now } from "../lib/feed.js";
import { useResource } from "../lib/resource.js";
import { clock, span } from "../lib/text.js";
import { axis, place, ticks } from "../lib/timeline.js";
import { html } from "../lib/view.js";
import { Empty, Reading } from "./basics.js";

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
