/**
 * The reader: who looks, what that person may do, and what this browser remembers. Without authentication everything is
 * allowed, and acts ask for a name. A browser that forbids to remember remembers nothing, and all else works.
 */
import { get, Problem, session, write } from "./api.js";
import { follow } from "./feed.js";
import { signal } from "./view.js";

/** @typedef {"view" | "start" | "operate" | "administer"} Permission */

const ROLES = { view: "viewer", start: "starter", operate: "operator", administer: "admin" };

/** `permissions` is null where there is no authentication, or nobody has signed in. */
export const me = signal(/** @type {{out: boolean, name: string, role: string, permissions: string[] | null}} */ ({ out: false, name: "", role: "", permissions: null }));

/** @param {any} found as /v1/me says it; null: nobody is signed in */
function set(found) {
  session.csrf = found?.csrf_token ?? "";
  me.value = { out: found === null, name: found?.name ?? "", role: found?.role ?? "", permissions: found?.permissions ?? null };
  follow(found !== null);
}

export async function learn() {
  try {
    set(await get("/v1/me"));
  } catch (error) {
    // A server that cannot say who asks lets everybody in, or its pages say themselves what is wrong.
    set(error instanceof Problem && error.status === 401 ? null : {});
  }
}

/** @param {string} key */
export async function signIn(key) {
  set(await write("POST", "/v1/login", { key }));
}

export async function signOut() {
  await write("POST", "/v1/logout");
  set(null);
}

session.lost = () => set(null);
session.again = learn;

/** Why this is not allowed, or "". @param {Permission} wanted */
export function forbidden(wanted) {
  const held = me.value.permissions;
  return held === null || held.includes(wanted) ? "" : `Needs the role ${ROLES[wanted]}.`;
}

/** @param {string} name @returns {string} "" where there is nothing */
export function recall(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} name @param {string} text */
export function remember(name, text) {
  try {
    localStorage.setItem(name, text);
  } catch {
    // It is full, or forbidden.
  }
}
