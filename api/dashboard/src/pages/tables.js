/** Tables: the rules that route flows now, who changed them and when; a change is a new version, shown before it is sent. */
import { query as search, write } from "../lib/api.js";
import { forbidden } from "../lib/me.js";
import { useResource } from "../lib/resource.js";
import { count } from "../lib/text.js";
import { html, useState, useTitle } from "../lib/view.js";
import { Act } from "../parts/act.js";
import { Ago, At, Empty, Panel, Reading } from "../parts/basics.js";
import { Cases } from "../parts/cases.js";
import { JsonField } from "../parts/form.js";
import { Lines } from "../parts/values.js";

const TABLES = "/v1/tables";

export function Tables() {
  useTitle("Tables");
  const found = useResource(TABLES);
  return html`<div class="head"><h1>Tables</h1></div>
    <${Reading} of=${found}>${(/** @type {any} */ data) =>
      html`<${Cases} label="Tables" cases=${data.tables} id=${(/** @type {any} */ each) => each.name}
            empty=${html`<${Empty} title="No definition routes by a table">A <code>route</code> names one; it appears here.<//>`}
            line=${(/** @type {any} */ each) => html`<b class="mono">${each.name}</b><span class="soft">${each.version ? html`version ${each.version}, changed <${Ago} at=${each.changed_at} />` : "never set"}</span>`}>
            ${(/** @type {any} */ each) => html`<${One} table=${each} />`}<//>`}<//>`;
}

/** @param {{table: any}} props */
function One({ table }) {
  const past = useResource(`${TABLES}/${encodeURIComponent(table.name)}/history${search({ limit: 200 })}`);
  const [open, setOpen] = useState(false);
  const denied = forbidden("operate");
  return html`
    <div class="why ${table.version ? "run" : "off"}"><p><strong>${table.rules.length ? `${count(table.rules.length, "rule")}: the first that matches decides.` : "It has no rules: every flow takes its own default."}</strong> Branches: ${table.branches.join(", ")}.</p></div>
    <p class="row"><button type="button" disabled=${Boolean(denied)} title=${denied} onClick=${() => setOpen(true)}>Change the rules</button></p>
    <${Panel} title="Rules" note="version ${table.version}">${table.rules.length ? html`<${Rules} rules=${table.rules} />` : html`<p class="soft">None.</p>`}<//>
    <${Panel} title="Changes"><${Reading} of=${past}>${(/** @type {any} */ data) =>
      data.changes.length
        ? html`<ul class="plainlist">${data.changes.toReversed().map((/** @type {any} */ each, /** @type {number} */ index, /** @type {any[]} */ all) => html`<li><b>version ${each.version}</b> ${each.by && `by ${each.by}`} <${At} at=${each.at} />${each.reason && `: ${each.reason}`}${each.outcome !== "applied" && ` (${each.outcome}: ${each.answer})`}
            ${each.rules && html`<details><summary>What changed</summary><${Diff} before=${all[index + 1]?.rules ?? []} after=${each.rules} /></details>`}</li>`)}</ul>`
        : html`<p class="soft">Nobody has changed it yet.</p>`}<//><//>
    ${open && html`<${Change} table=${table} close=${() => setOpen(false)} />`}`;
}

/** @param {{rules: any[], onChange: (rules: any[]) => void}} props */
const RulesField = ({ rules, onChange }) => html`<${JsonField} title="Rules" hint="In order; “when” has a value or {operator: value} for each fact: == != < <= > >= in" value=${rules} onChange=${onChange} />`;

/** @param {{rules: any[]}} props */
const Rules = ({ rules }) => html`<ol class="steps">${rules.map((each) => html`<li>${ruleText(each)}</li>`)}</ol>`;

/** @param {any} rule */
function ruleText(rule) {
  const facts = Object.entries(rule.when).map(([name, wanted]) => (wanted !== null && typeof wanted === "object" ? Object.entries(wanted).map(([sign, value]) => `${name} ${sign} ${JSON.stringify(value)}`).join(" and ") : `${name} == ${JSON.stringify(wanted)}`));
  return html`<code>${facts.join(" and ") || "anything else"}</code> → <b>${rule.to}</b>`;
}

/** @param {{before: any[], after: any[]}} props */
const Diff = ({ before, after }) => html`<${Lines} before=${before.map((each) => JSON.stringify(each))} after=${after.map((each) => JSON.stringify(each))} />`;

/** @param {{table: any, title?: string, does?: string, form?: any, close: () => void}} props `form` none: as JSON */
export function Change({ table, title = `Change ${table.name}`, does = "Flows that come to it from then on are routed by these rules. Those that were routed already are not.", form = RulesField, close }) {
  // A change is one of the rules that were read, also when somebody else sets others meanwhile: the server refuses it then.
  const [{ version, rules: old }] = useState(table);
  const [rules, setRules] = useState(old.length || form !== RulesField ? old : [{ when: {}, to: table.branches[0] }]);
  const same = JSON.stringify(rules) === JSON.stringify(old);
  return html`<${Act} title=${title} button="Set version ${version + 1}" blocked=${same ? "Nothing is changed yet." : table.version === version ? "" : "Somebody else has changed the rules meanwhile: close this and begin from theirs."}
    does=${html`<p>${does}</p>`}
    send=${(/** @type {any} */ who) => write("PUT", `${TABLES}/${encodeURIComponent(table.name)}`, { ...who, rules, version })}
    told=${(/** @type {any} */ answer) => (answer.changed ? `Version ${answer.version} is in effect.` : "It had these rules already.")} close=${close}>
    <${form} rules=${rules} onChange=${setRules} />
    <details open><summary>What changes</summary><${Diff} before=${old} after=${Array.isArray(rules) ? rules : []} /></details><//>`;
}
