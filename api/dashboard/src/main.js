/** The sections of the dashboard, in the order of the rail. A page that does not exist is not in the list. */
import { learn, me } from "./lib/me.js";
import { html, render } from "./lib/view.js";
import { Attention, ATTENTION } from "./pages/attention.js";
import { Dead, GROUPS } from "./pages/dead.js";
import { Definitions } from "./pages/definitions.js";
import { Instances } from "./pages/instances.js";
import { Log } from "./pages/log.js";
import { Login } from "./pages/login.js";
import { Overview } from "./pages/overview.js";
import { PARKED, Parked } from "./pages/parked.js";
import { Questions, QUESTIONS } from "./pages/questions.js";
import { Queues, QUEUES, stuck } from "./pages/queues.js";
import { Schedules } from "./pages/schedules.js";
import { Tables } from "./pages/tables.js";
import { Guarded, Shell } from "./parts/shell.js";

/** A number in the rail, when there is something. @param {number} many @param {boolean} more @param {boolean} [bad] */
const badge = (many, more, bad = false) => (many ? { text: `${many}${more ? "+" : ""}`, bad } : null);

/** @type {import("./parts/shell.js").Section[]} */
const SECTIONS = [
  { page: "overview", title: "Overview", key: "o", view: Overview },
  { page: "instances", title: "Instances", key: "i", view: Instances },
  { page: "attention", title: "Attention", key: "a", view: Attention, badge: { path: ATTENTION, of: (data) => badge(data.instances.length, data.cursor !== null, true) } },
  { page: "questions", title: "Questions", key: "q", view: Questions, badge: { path: QUESTIONS, of: (data) => badge(data.questions.length, data.cursor !== null) } },
  { page: "dead", title: "Dead letters", key: "d", view: Dead, badge: { path: GROUPS, of: (data) => badge(data.groups.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.open, 0), data.cursor !== null) } },
  { page: "parked", title: "Parked", key: "p", view: Parked, badge: { path: PARKED, of: (data) => badge(data.parked.length, data.cursor !== null, true) } },
  { page: "definitions", title: "Definitions", key: "f", view: Definitions, gap: true },
  { page: "queues", title: "Queues", key: "u", view: Queues, badge: { path: QUEUES, of: (data) => badge(stuck(data), false, true) } },
  { page: "schedules", title: "Schedules", key: "s", view: Schedules },
  { page: "tables", title: "Tables", key: "t", view: Tables },
  { page: "log", title: "Log", key: "l", view: Log },
];

const Root = () => (me.value.out ? html`<${Login} />` : html`<${Shell} sections=${SECTIONS} />`);

await learn();
const app = /** @type {HTMLElement} */ (document.getElementById("app"));
app.replaceChildren();
render(html`<${Guarded}><${Root} /><//>`, app);
