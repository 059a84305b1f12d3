/** The axis of a run over time, in which long idle times are folded, so that a burst between two quiet days stays readable. */

/** @typedef {{from: number, to: number, left: number, width: number, folded: boolean}} Stretch */

const FOLDED_TIMES = 4;
const FOLDED_WEIGHT = 1.5;

/**
 * The axis: stretches between the moments at which something happened. One that is much longer than the usual ones is
 * folded. `left` and `width` are parts of 1.
 * @param {number[]} moments @returns {Stretch[]}
 */
export function axis(moments) {
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
export function place(stretches, at) {
  const found = stretches.find((each) => at <= each.to) ?? stretches.at(-1);
  if (!found) return 0;
  const part = found.to === found.from ? 0 : Math.min(Math.max((at - found.from) / (found.to - found.from), 0), 1);
  return found.left + part * found.width;
}

/** Marks of the axis that do not touch: `{at, left}`. @param {Stretch[]} stretches @param {number} apart */
export function ticks(stretches, apart = 0.14) {
  /** @type {{at: number, left: number}[]} */
  const found = [];
  for (const each of stretches) {
    if (each.left > 0.9) break;
    const last = found.at(-1);
    if (!last || each.left - last.left >= apart) found.push({ at: each.from, left: each.left });
  }
  return found;
}
