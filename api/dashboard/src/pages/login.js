/** Signing in: with a key, which becomes a cookie that no script can read. */
import { Problem } from "../lib/api.js";
import { signIn } from "../lib/me.js";
import { html, useState, useTitle } from "../lib/view.js";
import { Failed } from "../parts/basics.js";
import { Labelled } from "../parts/form.js";
import { Mark } from "../parts/shell.js";

export function Login() {
  useTitle("Sign in");
  const [key, setKey] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(key.trim());
    } catch (error) {
      setProblem(error instanceof Problem ? error : new Problem({ detail: String(error) }));
      setBusy(false);
    }
  };
  return html`<main class="login"><form class="panel stack" onSubmit=${submit}>
    <h1><${Mark} /> Sign in to Sagaline</h1>
    <${Labelled} title="Key" hint="Made by an administrator with saga keys, or a token of the settings">${(/** @type {any} */ tied) => html`<input ...${tied} type="password" required autocomplete="current-password" value=${key} onInput=${(/** @type {any} */ event) => setKey(event.target.value)} />`}<//>
    ${problem && html`<${Failed} problem=${problem} />`}
    <p class="row"><button class="primary" disabled=${busy}>${busy ? "Signing in…" : "Sign in"}</button></p></form></main>`;
}
