/** A definition as a graph, with one run on it where there is one. The layout is made once for each structure. */
import { Problem } from "../lib/api.js";
import { html, signal } from "../lib/view.js";
import { ICONS } from "../lib/words.js";
import { Failed, Loading } from "./basics.js";

/** @typedef {{id: string, kind: string, name: string, title: string, lines: string[], status: string | null, note: string}} Vertex */
/** @typedef {{id: string, title: string, vertices: Vertex[], groups: Group[]}} Group */
/** @typedef {{definition: string, version: number, root: Group, edges: {source: string, target: string, label: string, undo: boolean}[]}} Graph */

const HIGH = 48;
const UNDRAWN = new Problem({ title: "The graph cannot be drawn", detail: "The script that draws graphs did not arrive. Everything else on this page is complete. Try again, or reload the page." });
const SMALL = new Set(["start", "end", "join", "pivot"]);

/** @type {Record<string, {tone: string, word: string, icon: string}>} */
const LOOKS = {
  done: { tone: "ok", word: "done", icon: ICONS.check },
  running: { tone: "run", word: "in work", icon: ICONS.dot },
  undone: { tone: "undone", word: "undone", icon: ICONS.back },
  failed: { tone: "bad", word: "failed", icon: ICONS.cross },
  dropped: { tone: "off", word: "not reached", icon: "" },
  stopped: { tone: "off", word: "dropped", icon: ICONS.cross },
  waits: { tone: "run", word: "waits", icon: ICONS.wait },
  lock: { tone: "run", word: "waits for a lock", icon: ICONS.wait },
  retries: { tone: "bad", word: "waits to retry", icon: ICONS.wait },
  "to come": { tone: "off", word: "to come", icon: "" },
};
/** What a step says more exactly than the graph. @type {Record<string, string>} */
const EXACT = { dropped: "stopped", waiting: "waits", locking: "lock", backoff: "retries" };
/** @type {Record<string, string>} */
const UNDOS = { running: "being undone", failed: "undo failed", dropped: "stays, accepted", "to come": "undo to come" };

/** @param {Group} group @returns {Vertex[]} */
const all = (group) => [...group.vertices, ...group.groups.flatMap(all)];

/** What a node says below its title. @param {Vertex} vertex @param {Vertex | undefined} undo */
function below(vertex, undo) {
  if (vertex.status === null) return { tone: "plain", text: vertex.lines[0] ?? "", icon: "" };
  const look = LOOKS[vertex.status] ?? LOOKS["to come"];
  const undoing = undo?.status ? UNDOS[undo.status] : undefined;
  if (undoing && undo?.status !== "to come") return { tone: undo?.status === "failed" ? "bad" : undo?.status === "running" ? "undo" : "off", text: undoing, icon: undo?.status === "failed" ? ICONS.alert : ICONS.back };
  const text = [look.word, undoing, vertex.note].filter(Boolean).join(", ");
  return { tone: undoing ? "undo" : look.tone, text, icon: look.icon };
}

/** @param {Vertex} vertex @param {string} text */
function size(vertex, text) {
  if (vertex.kind === "start" || vertex.kind === "end") return { width: 14, height: 14 };
  if (vertex.kind === "join") return { width: 6, height: 30 };
  if (vertex.kind === "pivot") return { width: 20, height: 20 };
  return { width: Math.max(96, 24 + vertex.title.length * 7.6, 40 + text.length * 6.1), height: HIGH };
}

/** @type {Map<string, any>} */
const layouts = new Map();
/** What makes layouts: the largest script, fetched with the first graph. */
const dagre = signal(/** @type {typeof import("@dagrejs/dagre") | null} */ (null));
const failed = signal(false);
let asked = false;

function fetchDagre() {
  failed.value = false;
  import("@dagrejs/dagre").then(
    (found) => {
      dagre.value = found;
    },
    () => {
      failed.value = true;
    },
  );
}

/** The layout of a structure; statuses do not change it. null: not yet. @param {Graph} graph */
export function laid(graph) {
  if (!dagre.value) {
    if (!asked) fetchDagre();
    asked = true;
    return null;
  }
  const vertices = all(graph.root);
  const shape = JSON.stringify([graph.definition, graph.version, vertices.length, graph.edges.length, vertices.some((each) => each.status !== null)]);
  const made = layouts.get(shape) ?? lay(graph, dagre.value);
  layouts.set(shape, made);
  return made;
}

/** @param {Graph} graph @param {typeof import("@dagrejs/dagre")} dagre */
function lay(graph, { graphlib, layout }) {
  const made = new graphlib.Graph({ compound: true });
  made.setGraph({ rankdir: "LR", nodesep: 18, ranksep: 26, marginx: 8, marginy: 8 });
  made.setDefaultEdgeLabel(() => ({}));
  const vertices = all(graph.root).filter((each) => each.kind !== "undo");
  for (const each of vertices) made.setNode(each.id, size(each, "waits for the next attempt".slice(0, Math.max(14, each.status === null ? (each.lines[0] ?? "").length : 18))));
  const cluster = (/** @type {Group} */ group, /** @type {string | null} */ parent) => {
    if (parent !== null) {
      made.setNode(`g ${group.id}`, {});
      if (parent) made.setParent(`g ${group.id}`, `g ${parent}`);
      for (const each of group.vertices) if (each.kind !== "undo") made.setParent(each.id, `g ${group.id}`);
    }
    for (const each of group.groups) cluster(each, parent === null ? "" : group.id);
  };
  cluster(graph.root, null);
  for (const each of graph.edges) if (!each.undo) made.setEdge(each.source, each.target, { label: each.label, width: each.label.length * 6.2, height: 14 });
  layout(made);
  return made;
}

/** @param {{x: number, y: number}[]} points */
const line = (points) => `M${points.map((each) => `${each.x.toFixed(1)} ${each.y.toFixed(1)}`).join("L")}`;

/** @param {{graph: Graph, label: string, steps?: {name: string, status: string}[]}} props */
export function GraphView({ graph, label, steps = [] }) {
  const made = laid(graph);
  if (!made) return failed.value ? html`<${Failed} problem=${UNDRAWN} retry=${fetchDagre} />` : html`<${Loading} lines=${3} />`;
  const undos = new Map(graph.edges.filter((each) => each.undo).map((each) => [each.source, each.target]));
  const exact = new Map(steps.map((each) => [each.name, EXACT[each.status]]));
  const vertices = new Map(all(graph.root).map((each) => [each.id, each.kind === "undo" ? each : { ...each, status: exact.get(each.name) ?? each.status }]));
  const { width = 0, height = 0 } = /** @type {any} */ (made.graph());
  const said = [...vertices.values()]
    .filter((each) => each.kind !== "undo" && !SMALL.has(each.kind))
    .map((each) => `${each.title} ${below(each, vertices.get(undos.get(each.id) ?? "")).text}`);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <svg class="graph" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}: ${said.join("; ")}"
      style=${{ minWidth: `${Math.round(width * 0.82)}px`, maxWidth: `${Math.round(width * 1.15)}px` }}>
      <defs><pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M1 0V6" /></pattern></defs>
      ${made.nodes().filter((/** @type {string} */ id) => id.startsWith("g ")).map((/** @type {string} */ id) => html`<${Box} key=${id} at=${made.node(id)} title=${titled(graph.root, id.slice(2))} />`)}
      ${made.edges().map((/** @type {any} */ each) => {
        const edge = /** @type {any} */ (made.edge(each));
        return html`<g class="edge"><path d=${line(edge.points)} />${edge.label && html`<text x=${edge.x} y=${edge.y - 4} text-anchor="middle">${edge.label}</text>`}</g>`;
      })}
      ${[...vertices.values()].filter((each) => each.kind !== "undo").map((each) => html`<${Node} key=${each.id} vertex=${each} undo=${vertices.get(undos.get(each.id) ?? "")} at=${made.node(each.id)} />`)}
    </svg>
  </div>`;
}

/** @param {Group} group @param {string} id @returns {string} */
function titled(group, id) {
  if (group.id === id) return group.title;
  return group.groups.map((each) => titled(each, id)).find(Boolean) ?? "";
}

/** @param {{at: any, title: string}} props */
const Box = ({ at, title }) => html`<g class="group">
  <rect x=${at.x - at.width / 2} y=${at.y - at.height / 2} width=${at.width} height=${at.height} rx="8" />
  <text x=${at.x - at.width / 2 + 8} y=${at.y - at.height / 2 + 14}>${title}</text></g>`;

/** @param {{vertex: Vertex, undo: Vertex | undefined, at: any}} props */
function Node({ vertex, undo, at }) {
  const { tone, text, icon } = below(vertex, undo);
  const place = `translate(${(at.x - at.width / 2).toFixed(1)} ${(at.y - at.height / 2).toFixed(1)})`;
  if (vertex.kind === "start" || vertex.kind === "end") return html`<g class="node end" transform=${place}><circle cx="7" cy="7" r=${vertex.kind === "end" ? 6 : 4} /></g>`;
  if (vertex.kind === "join") return html`<g class="node join" transform=${place}><rect width="6" height="30" rx="3" /></g>`;
  if (vertex.kind === "pivot") return html`<g class="node pivot ${tone}" transform=${place}><path d="M10 0 20 10 10 20 0 10Z" /><text x="10" y="34" text-anchor="middle">pivot</text></g>`;
  return html`<g class="node ${tone}" transform=${place}>
    <title>${[vertex.title, ...vertex.lines].join("\n")}</title>
    <rect width=${at.width} height=${at.height} rx="6" />
    <text class="title" x="12" y=${text ? 20 : 28}>${vertex.title}</text>
    ${text && html`<g transform="translate(12 28)">${icon && html`<path class="sign" d=${icon} />`}<text class="s" x=${icon ? 16 : 0} y="10">${text}</text></g>`}
  </g>`;
}
