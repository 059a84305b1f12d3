/** What a page reads: the last good value stays while it is read again, and says how old it is when that fails. */
import { get, Problem } from "./api.js";
import { pulse, tell, watch } from "./feed.js";
import { useEffect, useMemo, useRef, useState } from "./view.js";

/**
 * @template T
 * @typedef {{data: T | null, error: Problem | null, at: number, slow: boolean, stale: boolean, reload: () => void}} Resource
 */

const SLOW_MS = 300;

/**
 * Reads a path, again whenever the feed says so. `slow` is true when the first value takes longer than 300 ms.
 * @template [T=any] @param {string | null} path null: nothing is read @param {{live?: boolean, of?: string}} [how]
 * `of`: only when this instance may have changed @returns {Resource<T>}
 */
export function useResource(path, how = {}) {
  return useReading(path, path === null ? null : (signal) => get(path, signal), how);
}

/**
 * The same for several requests that make one value. `name` says when it is another value.
 * @template T @param {string | null} name @param {((signal: AbortSignal) => Promise<T>) | null} read
 * @param {{live?: boolean, of?: string}} [how] @returns {Resource<T>}
 */
export function useReading(name, read, { live = true, of } = {}) {
  const [state, setState] = useState(
    /** @type {{name: string | null, data: T | null, error: Problem | null, at: number, slow: boolean}} */ (empty(name)),
  );
  const [again, setAgain] = useState(0);
  /** Whether it may have changed since the read began that goes on. */
  const missed = useRef(false);
  const busy = useRef(/** @type {string | null} */ (null));
  const own = useMemo(() => (of === undefined ? null : watch(of)), [of]);
  useEffect(() => own?.end, [own]);
  // What has failed is read again soon, also when no event tells of its instance.
  const beat = live || state.error ? (own && !state.error ? own.pulse : pulse).value : 0;
  const current = state.name === name ? state : { ...empty(name), data: null };

  useEffect(() => {
    if (name === null || read === null || busy.current === name) {
      missed.current = busy.current === name;
      return undefined;
    }
    busy.current = name;
    missed.current = false;
    const stop = new AbortController();
    const late = setTimeout(() => setState((old) => (old.name === name ? { ...old, slow: true } : { ...empty(name), slow: true })), SLOW_MS);
    read(stop.signal)
      .then(
        (data) => {
          if (stop.signal.aborted) return;
          tell(true);
          setState({ name, data, error: null, at: Date.now(), slow: false });
        },
        (error) => {
          if (stop.signal.aborted) return;
          tell(error instanceof Problem && error.status > 0);
          const problem = error instanceof Problem ? error : new Problem({ detail: String(error) });
          setState((old) => ({ ...(old.name === name ? old : empty(name)), error: problem, slow: false }));
        },
      )
      .finally(() => {
        clearTimeout(late);
        if (stop.signal.aborted) return;
        busy.current = null;
        if (missed.current) setAgain((count) => count + 1);
      });
    running.current = stop;
    return undefined;
  }, [name, beat, again]);

  const running = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => {
    running.current?.abort();
    busy.current = null;
  }, [name]);

  return {
    data: /** @type {T | null} */ (current.data),
    error: current.error,
    at: current.at,
    slow: current.slow,
    stale: current.data !== null && current.error !== null,
    reload: () => setAgain((count) => count + 1),
  };
}

/** @param {string | null} name */
function empty(name) {
  return { name, data: null, error: null, at: 0, slow: false };
}
