/** Who looks, and what that person may do. Without authentication everything is allowed, and the act's name is asked. */
import { get } from "./api.js";
import { signal } from "./view.js";

/** @typedef {"view" | "start" | "operate" | "administer"} Permission */

const ROLES = { view: "viewer", start: "starter", operate: "operator", administer: "admin" };

export const me = signal(/** @type {{name: string, permissions: string[] | null}} */ ({ name: "", permissions: null }));

export async function learn() {
  try {
    const found = await get("/v1/me");
    me.value = { name: found.name ?? "", permissions: found.permissions ?? null };
  } catch {
    me.value = { name: "", permissions: null };
  }
}

/** Why this is not allowed, or "". @param {Permission} wanted */
export function forbidden(wanted) {
  const held = me.value.permissions;
  return held === null || held.includes(wanted) ? "" : `Needs the role ${ROLES[wanted]}.`;
}
