/** The sections of the dashboard, in the order of the rail. A page that does not exist is not in the list. */
import { html, render } from "./lib/view.js";
import { Instances } from "./pages/instances.js";
import { Shell } from "./parts/shell.js";

/** @type {import("./parts/shell.js").Section[]} */
const SECTIONS = [{ page: "instances", title: "Instances", key: "i", view: Instances }];

render(html`<${Shell} sections=${SECTIONS} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
