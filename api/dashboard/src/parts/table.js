/** A table whose rows can be walked with j and k and opened with Enter; it scrolls inside itself when it is wide. */
import { useKeys } from "../lib/keys.js";
import { html, useRef } from "../lib/view.js";

/**
 * @template T
 * @typedef {object} Column
 * @property {string} name in the address
 * @property {string} title
 * @property {(row: T) => any} cell
 * @property {string} [sort] what the server sorts by
 * @property {boolean} [number] aligned at its end
 * @property {boolean} [wide] left out where there is little room
 */

/**
 * @template T
 * @param {{
 *   label: string, columns: Column<T>[], rows: T[], id: (row: T) => string, open?: (row: T) => void,
 *   dim?: (row: T) => boolean, sort?: string, onSort?: (by: string) => void, picked?: Set<string>, onPick?: (id: string) => void,
 * }} props
 */
export function Table({ label, columns, rows, id, open, dim, sort, onSort, picked, onPick }) {
  const body = useRef(/** @type {HTMLElement | null} */ (null));
  const walk = (/** @type {number} */ by) => {
    const all = [...(body.current?.children ?? [])];
    const here = all.findIndex((each) => each.contains(document.activeElement));
    const next = all[Math.min(Math.max(here + by, 0), all.length - 1)];
    if (next instanceof HTMLElement) next.focus();
  };
  useKeys(
    [
      { keys: "j", does: "Next row", run: () => walk(1) },
      { keys: "k", does: "Row before", run: () => walk(-1) },
      ...(onPick ? [{ keys: "x", does: "Select the row, or not", run: () => /** @type {HTMLElement | null} */ (document.activeElement?.closest("tr")?.querySelector(".pick"))?.click() }] : []),
    ],
    [rows, onPick],
  );
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table>
    <thead><tr>
      ${onPick && html`<th scope="col"><span class="vh">Selected</span></th>`}
      ${columns.map((each) => html`<${Head} key=${each.name} column=${each} sort=${sort} onSort=${onSort} />`)}
    </tr></thead>
    <tbody ref=${body}>${rows.map(
      (row) => html`<tr key=${id(row)} tabindex="-1" class="${open ? "opens" : ""} ${dim?.(row) ? "late" : ""}"
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && event.target === event.currentTarget && open?.(row)}
        onClick=${(/** @type {MouseEvent} */ event) => open && !inside(event) && open(row)}>
        ${onPick && html`<td><input type="checkbox" class="pick" aria-label="Select ${id(row)}" checked=${picked?.has(id(row))} onChange=${() => onPick(id(row))} /></td>`}
        ${columns.map((each) => html`<td key=${each.name} class=${kind(each)}>${each.cell(row)}</td>`)}
      </tr>`,
    )}</tbody>
  </table></div>`;
}

/** @param {Column<any>} column */
const kind = ({ number, wide }) => `${number ? "number" : ""} ${wide ? "wide" : ""}`;

/** A click on something in the row that has its own act, or that ends the selection of a text. @param {MouseEvent} event */
function inside(event) {
  const target = event.target instanceof Element && event.target.closest("a, button, input");
  return Boolean(target) || Boolean(getSelection()?.toString());
}

/** @param {{column: Column<any>, sort?: string, onSort?: (by: string) => void}} props */
function Head({ column, sort, onSort }) {
  if (!column.sort || !onSort) return html`<th scope="col" class=${kind(column)}>${column.title}</th>`;
  const by = column.sort;
  const down = sort === `-${by}`;
  const state = sort === by ? "ascending" : down ? "descending" : "none";
  return html`<th scope="col" aria-sort=${state} class=${kind(column)}>
    <button type="button" class="sort" onClick=${() => onSort(down ? by : `-${by}`)}>${column.title}<i aria-hidden="true">${state === "none" ? "" : down ? "↓" : "↑"}</i></button>
  </th>`;
}
