/** What every part and page draws with: one import instead of five. */
import { h } from "preact";
import htm from "htm";
import { useEffect } from "preact/hooks";

export { render } from "preact";
// What moves the focus or binds keys is a layout effect: Preact runs other effects, and their ends, after the next
// frame, and takes the focus from what the reader reached meanwhile.
export { useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { computed, effect, signal, useComputed, useSignal } from "@preact/signals";

/** @typedef {import("preact").ComponentChildren} Children */

/** Templates: `html`<b>${text}</b>`` is an element; a text can never become markup. */
export const html = htm.bind(h);

/** The title of the window. @param {string} title */
export function useTitle(title) {
  useEffect(() => {
    document.title = `${title} · Sagaline`;
  }, [title]);
}
