/** A form from a JSON Schema: what has a simple type gets its own field, the rest is written as JSON. */
import { capital } from "../lib/text.js";
import { html, useId } from "../lib/view.js";

/** @param {any} schema @param {any} root @returns {any} */
function resolved(schema, root) {
  if (schema?.$ref) return { ...resolved(root.$defs?.[schema.$ref.split("/").at(-1)] ?? {}, root), ...schema, $ref: undefined };
  const some = schema?.anyOf?.filter((/** @type {any} */ each) => each.type !== "null");
  return some?.length === 1 ? { ...resolved(some[0], root), ...schema, anyOf: undefined, optional: true } : (schema ?? {});
}

/** The first value of a form. @param {any} schema @param {any} [root] @returns {any} */
export function blank(schema, root = schema) {
  const own = resolved(schema, root);
  if ("default" in own) return own.default;
  if (own.enum) return own.enum[0];
  if (own.type === "object" && own.properties) return Object.fromEntries(Object.entries(own.properties).filter(([name]) => own.required?.includes(name) || "default" in /** @type {any} */ (own.properties[name])).map(([name, each]) => [name, blank(each, root)]));
  if (own.type === "boolean") return false;
  if (own.type === "array") return [];
  if (own.type === "string") return "";
  return null;
}

/**
 * @param {{schema: any, root?: any, value: any, onChange: (value: any) => void}} props
 */
export function Form({ schema, root = schema, value, onChange }) {
  const own = resolved(schema, root);
  const field = (/** @type {string} */ name, /** @type {any} */ each) => html`<${Field} key=${name} title=${capital((each.title ?? name).replaceAll("_", " "))} schema=${resolved(each, root)} root=${root}
    needed=${own.required?.includes(name)} value=${value?.[name]} onChange=${(/** @type {any} */ to) => onChange({ ...value, [name]: to })} />`;
  const fields = Object.entries(own.properties ?? {});
  const spare = fields.filter(([name, each]) => !own.required?.includes(name) && (/** @type {any} */ (each).default ?? null) === null);
  const usual = fields.filter((each) => !spare.includes(each));
  return html`${usual.map(([name, each]) => field(name, each))}
    ${spare.length > 0 && html`<details><summary>${usual.length ? "More fields" : "Fields"}: ${spare.map(([name]) => name).join(", ")}</summary><div class="stack">${spare.map(([name, each]) => field(name, each))}</div></details>`}`;
}

/** @param {{title: string, schema: any, root: any, needed: boolean, value: any, onChange: (value: any) => void}} props */
function Field({ title, schema, root, needed, value, onChange }) {
  if (schema.type === "object" && schema.properties) {
    return html`<fieldset><legend>${title}</legend><${Form} schema=${schema} root=${root} value=${value ?? {}} onChange=${onChange} /></fieldset>`;
  }
  if (schema.enum) {
    return html`<${Labelled} title=${title} hint=${schema.description}>${(/** @type {any} */ tied) => html`<select ...${tied} value=${String(value)} onChange=${(/** @type {any} */ event) => onChange(schema.enum[event.target.selectedIndex])}>
      ${schema.enum.map((/** @type {any} */ each) => html`<option value=${String(each)}>${String(each)}</option>`)}</select>`}<//>`;
  }
  if (schema.type === "boolean") {
    return html`<label class="check"><input type="checkbox" checked=${Boolean(value)} onChange=${(/** @type {any} */ event) => onChange(event.target.checked)} /><span>${title}${schema.description && html`<small>${schema.description}</small>`}</span></label>`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    return html`<${Labelled} title=${title} hint=${schema.description}>${(/** @type {any} */ tied) => html`<input ...${tied} type="number" step=${schema.type === "integer" ? 1 : "any"} min=${schema.minimum} max=${schema.maximum}
      required=${needed} value=${value ?? ""} onInput=${(/** @type {any} */ event) => onChange(event.target.value === "" ? null : Number(event.target.value))} />`}<//>`;
  }
  if (schema.type === "string") {
    return html`<${Labelled} title=${title} hint=${schema.description}>${(/** @type {any} */ tied) => html`<input ...${tied} maxlength=${schema.maxLength} required=${needed && schema.minLength > 0} value=${value ?? ""}
      onInput=${(/** @type {any} */ event) => onChange(event.target.value)} />`}<//>`;
  }
  return html`<${JsonField} title=${title} hint=${schema.description ?? "as JSON"} value=${value} onChange=${onChange} />`;
}

/** @param {{title: string, hint?: string, value: any, onChange: (value: any) => void}} props */
export function JsonField({ title, hint, value, onChange }) {
  const check = (/** @type {any} */ event) => {
    try {
      const read = JSON.parse(event.target.value);
      event.target.setCustomValidity("");
      onChange(read);
    } catch {
      event.target.setCustomValidity("This is not JSON yet.");
    }
  };
  return html`<${Labelled} title=${title} hint=${hint}>${(/** @type {any} */ tied) => html`<textarea ...${tied} class="mono" rows="6" spellcheck=${false} onInput=${check}>${JSON.stringify(value ?? null, null, 2)}</textarea>`}<//>`;
}

/** @param {{title: string, hint?: string, children: (tied: {id: string, "aria-describedby"?: string}) => any}} props */
export function Labelled({ title, hint, children }) {
  const id = useId();
  return html`<div class="field"><label for=${id}>${title}</label>${children({ id, "aria-describedby": hint ? `${id}-hint` : undefined })}
    ${hint && html`<small id="${id}-hint">${hint}</small>`}</div>`;
}
