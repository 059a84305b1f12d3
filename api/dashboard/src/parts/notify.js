/** Push messages to this browser: offered where the server and the browser can, and nobody has said no. */
import { get, write } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/view.js";

const PATH = "/v1/push/subscriptions";

/** Its name is made of its endpoint, as the server makes it. @param {PushSubscription} subscription */
async function path({ endpoint }) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(endpoint)));
  return `${PATH}/p${[...digest].map((each) => each.toString(16).padStart(2, "0")).join("").slice(0, 31)}`;
}

/** A key in base64 of either kind, without the characters in which they differ. @param {string} key */
const plain = (key) => key.replace(/[^a-z0-9]/gi, "");

/** The key of the server, and the subscription of this browser, if it is of that key and the server delivers to it. Browsers have no `PushManager` outside of secure contexts. @returns {Promise<any>} */
async function look() {
  if (!("PushManager" in window) || Notification.permission === "denied") return {};
  const { key } = await get("/v1/push/key");
  const on = key && (await (await navigator.serviceWorker.getRegistration())?.pushManager.getSubscription());
  if (!on) return { key };
  if (plain(key) !== plain(btoa(String.fromCharCode(...new Uint8Array(on.options.applicationServerKey ?? []))))) await on.unsubscribe();
  else if (await get(await path(on)).catch((error) => error.status !== 404 && Promise.reject(error))) return { key, on };
  return { key };
}

/** @param {string} key */
async function start(key) {
  await navigator.serviceWorker.register("/sw.js");
  const { pushManager } = await navigator.serviceWorker.ready;
  const subscription = await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  await write("POST", PATH, { ...subscription.toJSON(), types: ["attention"] }).catch(async (error) => {
    await subscription.unsubscribe();
    throw error;
  });
}

/** What the server still has is removed when the push service answers that it is gone. @param {PushSubscription} subscription */
async function stop(subscription) {
  await write("DELETE", await path(subscription)).catch(() => {});
  await subscription.unsubscribe();
}

export function Notify() {
  const [state, set] = useState(/** @type {any} */ ({}));
  useEffect(() => void look().then(set, () => {}), []);
  const { key, on, busy, wrong } = state;
  const act = async () => {
    set({ key, on, busy: true });
    try {
      await (on ? stop(on) : start(key));
      set(await look());
    } catch (error) {
      set({ key, on, wrong: /** @type {Error} */ (error).message });
    }
  };
  return key && html`<span class="meta" role="status">${wrong ?? (on && "This browser is told of attention.")}</span><button type="button" disabled=${busy} onClick=${act}>${on ? "Stop notifying" : "Notify this browser"}</button>`;
}
