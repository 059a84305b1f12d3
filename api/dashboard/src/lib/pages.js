/** What every page does: its title in the window. */
import { useEffect } from "./view.js";

/** @param {string} title */
export function useTitle(title) {
  useEffect(() => {
    document.title = `${title} · Sagaline`;
  }, [title]);
}
