/** Push messages to this browser: offered where the server and the browser can, and nobody has said no. */
import { get, write } from "../lib/api.js";
import { html, useEffect, useState } from "../lib/view.js";

const PATH = "/v1/push/subscriptions";

/** @param {PushSubscription} subscription */
const put = (subscription) => write("POST", PATH, { ...subscription.toJSON(), types: ["attention"] });

/** The key of the server, and the subscription of this browser; without a key nothing is offered. @returns {Promise<any>} */
async function look() {
  if (!isSecureContext || !("PushManager" in window) || Notification.permission === "denied") return {};
  const { key } = await get("/v1/push/key");
  return { key, on: key && (await (await navigator.serviceWorker.getRegistration())?.pushManager.getSubscription()) };
}

/** @param {string} key */
async function start(key) {
  await navigator.serviceWorker.register("/sw.js");
  const { pushManager } = await navigator.serviceWorker.ready;
  const subscription = await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  await put(subscription).catch(async (error) => {
    await subscription.unsubscribe();
    throw error;
  });
}

/** Its name is in the answer when it is put again. @param {PushSubscription} subscription */
async function stop(subscription) {
  const { name } = await put(subscription);
  await write("DELETE", `${PATH}/${name}`);
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
