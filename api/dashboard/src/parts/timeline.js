/** The run over time: a lane for each step, its undo in the same lane, idle time folded, a mark for now. */
import { now } from "../lib/feed.js";
import { clock, span } from "../lib/text.js";
import { axis, lanes, place, ticks } from "../lib/timeline.js";
import { html } from "../lib/view.js";
import { Empty } from "./basics.js";

const percent = (/** @type {number} */ part) => `${(part * 100).toFixed(3)}%`;

/** @param {{decisions: any[], ended: string | null, depths: Record<string, number>}} props */
export function Timeline({ decisions, ended, depths }) {
  const rows = lanes(decisions);
  if (!rows.length) return html`<${Empty} title="Nothing has run yet" />`;
  const until = ended ? Date.parse(ended) : Math.max(now.value, Date.parse(decisions.at(-1).at));
  const began = Date.parse(decisions[0].at);
  const moments = [began, until, ...rows.flatMap((row) => row.spans.flatMap((each) => [each.from, each.to ?? until]))];
  const stretches = axis(moments);
  return html`<div class="tl">
    ${rows.map((row) => html`<div class="lane" key=${row.name}>
      <b style=${{ paddingInlineStart: `${(depths[row.name] ?? 0) * 10}px` }}>${row.name}</b>
      <div class="track">
        ${stretches.filter((each) => each.folded).map((each) => html`<u style=${{ left: percent(each.left), width: percent(each.width) }}></u>`)}
        ${row.spans.map((each) => {
          const left = place(stretches, each.from);
          const to = each.to ?? until;
          const text = `${row.name}: ${each.text}, ${span(to - each.from)}, from ${clock(new Date(each.from).toISOString())}`;
          return html`<i class="${each.kind} ${each.to === null ? "now" : ""}" role="img" aria-label=${text} title=${text}
            style=${{ left: percent(left), width: `max(4px, ${percent(place(stretches, to) - left)})` }}></i>`;
        })}
      </div>
    </div>`)}
    <div class="lane axis" aria-hidden="true"><b></b><div class="track">
      ${ticks(stretches).map((each) => html`<span style=${{ left: percent(each.left) }}>${span(each.at - began) === "0 ms" ? "0" : span(each.at - began)}</span>`)}
      ${ended === null && html`<span class="at-now">now</span>`}
    </div></div>
    ${stretches.some((each) => each.folded) && html`<p class="soft note">Folded, as nothing happened: ${stretches.filter((each) => each.folded).map((each) => span(each.to - each.from)).join(", ")}.</p>`}
  </div>`;
}
