/**
 * The address is the state: page, filters, sort, selected revision and open sheet stand behind the `#`, so that a
 * copied address shows the same. `#/instances/order-checkout/A-1?tab=history` is the page `instances` with two parts.
 */
import { signal } from "./view.js";

/** @typedef {{page: string, parts: string[], query: Record<string, string>}} Route */

/** @param {string} hash @returns {Route} */
export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page, ...parts] = path.split("/").filter(Boolean).map(decode);
  return { page: page ?? "", parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} page @param {string[]} [parts] @param {Record<string, string>} [query] */
export function href(page, parts = [], query = {}) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return `#/${[page, ...parts.map(encodeURIComponent)].join("/")}${search ? `?${search}` : ""}`;
}

/** @param {string} id */
export function instanceHref(id) {
  const cut = id.indexOf("/");
  return href("instances", [id.slice(0, cut), id.slice(cut + 1)]);
}

export const route = signal(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

/** @param {string} to */
export function go(to) {
  location.hash = to;
}

/**
 * Changes the query of the page that is shown. A change of what is looked at is a step of the browser's history; one of
 * how it is drawn is not.
 * @param {Record<string, string | null>} changes @param {{step?: boolean}} [how]
 */
export function setQuery(changes, { step = true } = {}) {
  const now = route.peek();
  const merged = Object.entries({ ...now.query, ...changes }).filter(([, value]) => value !== null && value !== "");
  const to = href(now.page, now.parts, /** @type {Record<string, string>} */ (Object.fromEntries(merged)));
  if (step) location.hash = to;
  else {
    history.replaceState(null, "", to);
    route.value = parse(to);
  }
}
