/** Requests to the routes of /v1. An error is a Problem that says what happened and what to do. */

/** An answer that is not a success, or none at all. */
export class Problem extends Error {
  /** @param {{type?: string, title?: string, status?: number, detail?: string, code?: string, errors?: {field: string, message: string}[], trace_id?: string}} body */
  constructor(body) {
    super(body.detail || body.title || "The request failed.");
    this.name = (body.type ?? "").replace("urn:sagaline:problem:", "") || "unknown";
    this.title = body.title ?? "The request failed";
    this.status = body.status ?? 0;
    this.code = body.code ?? null;
    this.errors = body.errors ?? [];
    this.trace = body.trace_id ?? null;
  }
}

/** A read that takes longer counts as lost. */
const GET_MS = 10_000;

/** Of who has signed in: what requests that change something must know, what happens when it has ended, and how to learn it again. */
export const session = { csrf: "", lost: () => {}, again: async () => {} };

/** @param {string} path @param {RequestInit} init @returns {Promise<Response>} */
async function send(path, init) {
  let answer;
  try {
    answer = await fetch(path, { ...init, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem({
      type: "unreachable",
      title: "The API does not answer",
      detail: `The API does not answer: it may be restarting, or the connection is lost. ${init.method ? "Send it again." : "This page tries again by itself."}`,
    });
  }
  if (answer.ok || answer.status === 304) return answer;
  const text = await answer.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = { title: `The server answered ${answer.status}`, detail: text.slice(0, 200) };
  }
  if (answer.status === 401 && path !== "/v1/login") session.lost();
  throw new Problem({ status: answer.status, ...body });
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, signal) {
  const answer = await send(path, { headers: { accept: "application/json" }, signal: AbortSignal.any([...(signal ? [signal] : []), AbortSignal.timeout(GET_MS)]) });
  return answer.json();
}

/** @param {"POST" | "PUT" | "DELETE"} method @param {string} path @param {unknown} [body] @returns {Promise<any>} */
export async function write(method, path, body) {
  const once = () => send(path, { method, headers: { accept: "application/json", "content-type": "application/json", ...(session.csrf ? { "x-csrf-token": session.csrf } : {}) }, body: JSON.stringify(body ?? {}) });
  const answer = await once().catch(async (error) => {
    if (!(error instanceof Problem) || error.status !== 403) throw error;
    // Another window may have signed in meanwhile, or the role has changed. A refused request has changed nothing.
    await session.again();
    return once();
  });
  return { status: answer.status, ...(answer.status === 204 ? {} : await answer.json()) };
}

/** The path of an instance; its key is one segment. @param {string} id */
export function instancePath(id) {
  const cut = id.indexOf("/");
  return `/v1/instances/${encodeURIComponent(id.slice(0, cut))}/${encodeURIComponent(id.slice(cut + 1))}`;
}

/**
 * A query string without what is empty; pairs may repeat a name.
 * @param {Record<string, string | number | null | undefined> | [string, string][]} values
 */
export function query(values) {
  const kept = (Array.isArray(values) ? values : Object.entries(values)).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}
