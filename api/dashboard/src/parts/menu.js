/** A button that shows something below itself: a list of acts, or of choices. Escape and a click elsewhere close it. */
import { html, useId, useLayoutEffect, useRef, useState } from "../lib/view.js";

/** @param {{label: any, children: any, end?: boolean, class?: string}} props */
export function Menu({ label, children, end = false, class: name = "" }) {
  const [open, setOpen] = useState(false);
  const own = useRef(/** @type {HTMLElement | null} */ (null));
  const id = useId();
  useLayoutEffect(() => {
    if (!open) return undefined;
    const close = (/** @type {Event} */ event) => {
      if (event.target instanceof Node && own.current?.contains(event.target)) return;
      setOpen(false);
    };
    addEventListener("pointerdown", close);
    /** @type {HTMLElement | null | undefined} */ (own.current?.querySelector(".menu button:not(:disabled), .menu input, .menu select"))?.focus();
    return () => removeEventListener("pointerdown", close);
  }, [open]);
  const shut = () => {
    own.current?.querySelector("button")?.focus();
    setTimeout(() => setOpen(false));
  };
  const keyed = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" && open) {
      event.stopPropagation();
      shut();
    }
  };
  return html`<span class="has-menu" ref=${own} onKeyDown=${keyed} onFocusOut=${(/** @type {FocusEvent} */ event) => event.relatedTarget instanceof Node && !own.current?.contains(event.relatedTarget) && setOpen(false)}>
    <button type="button" class=${name} aria-expanded=${open} aria-controls=${id} onClick=${() => setOpen(!open)}>${label}</button>
    ${open && html`<div class="menu ${end ? "end" : ""}" id=${id} onClickCapture=${(/** @type {any} */ event) => event.target.closest("button[data-close]") && shut()}>${children}</div>`}
  </span>`;
}
