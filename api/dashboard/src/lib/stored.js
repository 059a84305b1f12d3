/** What this browser remembers for the reader. A browser that forbids it remembers nothing, and all else works. */

/** @param {string} name @returns {string} "" where there is nothing */
export function recall(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} name @param {string} text */
export function remember(name, text) {
  try {
    localStorage.setItem(name, text);
  } catch {
    // It is full, or forbidden.
  }
}
