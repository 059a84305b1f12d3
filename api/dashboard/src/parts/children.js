/** The instances that an instance has started by a `run` or an `each`: their keys begin with its id. */
import { query } from "../lib/api.js";
import { useResource } from "../lib/resource.js";
import { instanceHref } from "../lib/router.js";
import { count } from "../lib/text.js";
import { html, useState } from "../lib/view.js";
import { causeText } from "../lib/words.js";
import { Panel, Status } from "./basics.js";
import { Timeline } from "./timeline.js";

const SHOWN = 50;

/** Nothing where there are none. @param {{of: string, nested?: boolean}} props */
export function Children({ of, nested = false }) {
  const [some, setSome] = useState(false);
  const found = useResource(`/v1/instances${query({ key_prefix: `${of}/`, sort: "created_at", limit: SHOWN })}`, some ? {} : { of });
  const children = found.data?.instances ?? [];
  if (children.length > 0 !== some) setSome(!some);
  if (!children.length) return null;
  const rows = html`<ul class="plainlist">${children.map((/** @type {any} */ each) => html`<${Child} key=${each.id} child=${each} of=${of} />`)}</ul>`;
  return nested ? rows : html`<${Panel} title="Children" note=${`${count(children.length, "instance")}${found.data.cursor ? " or more" : ""}, in the order of their start`}>${rows}<//>`;
}

/** @param {{child: any, of: string}} props */
function Child({ child, of }) {
  const [open, setOpen] = useState(false);
  const cause = child.attention ?? child.cause;
  return html`<li><details onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}>
    <summary><b>${child.key.slice(of.length + 1).replace(/~[a-z0-9]+/, "")}</b> <${Status} status=${child.status} paused=${child.paused} /> <span class="soft">${child.definition}</span></summary>
    ${open && html`<div class="inside stack"><p><a href=${instanceHref(child.id)}>All of it</a>${cause && `: ${causeText(cause)}`}</p><${Timeline} of=${child.id} limit=${200} /><${Children} of=${child.id} nested /></div>`}</details></li>`;
}
