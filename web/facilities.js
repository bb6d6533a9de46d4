/**
 * The browser's facilities. No other module of the page touches them.
 *
 * A facility can be absent, throw, never answer, be full, or hold data that this page did not write; at start or at any later time. Every
 * function here returns a value that the page can work with in all these cases, and no asynchronous call waits longer than
 * `ANSWER_TIMEOUT_MS`. What is not kept as a consequence is passed to a callback, so that the page can say it.
 */

/** Maximum time in ms that the page waits for one asynchronous answer of the browser. A slower answer counts as none. */
export const ANSWER_TIMEOUT_MS = 2_000;

/** The rejection of `answered` when the browser did not answer in time. */
export class NoAnswer extends Error {}

/**
 * Runs a call, and rejects if it does not settle in time. The call itself is not cancelled.
 * @template T
 * @param {() => T | PromiseLike<T>} call
 * @param {number} [timeout_ms]
 * @returns {Promise<T>} rejects with `NoAnswer`, or with what the call throws
 */
export function answered(call, timeout_ms = ANSWER_TIMEOUT_MS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new NoAnswer(`no answer within ${timeout_ms} ms`)), timeout_ms);
    const settle = (/** @type {(value: any) => void} */ how) => (/** @type {any} */ value) => {
      clearTimeout(timer);
      how(value);
    };
    Promise.resolve().then(call).then(settle(resolve), settle(reject));
  });
}

/** @template T @param {() => T} call @param {T} otherwise @returns {T} what the call returns, or `otherwise` if it throws */
export function attempted(call, otherwise) {
  try {
    return call();
  } catch {
    return otherwise;
  }
}

/**
 * @typedef {object} KeyValueStore
 * @property {(key: string) => string | null} getItem
 * @property {(key: string, value: string) => void} setItem keeps the value for the life of the page if the browser refuses it
 * @property {(key: string) => void} removeItem
 * @property {(key: string, value: string) => boolean} persist keeps nothing and returns false if the browser refuses the value
 * @property {() => string[]} keys
 */

/**
 * `localStorage` or `sessionStorage`. No method throws: a value that the browser does not take stays in memory.
 * @param {"localStorage" | "sessionStorage"} name
 * @param {(error: unknown) => void} [refused] called each time that the browser does not take a value
 * @returns {KeyValueStore}
 */
export function keyValueStore(name, refused = () => {}) {
  /** Values that the browser refused; null: its own value is out of date. @type {Map<string, string | null>} */
  const memory = new Map();
  const storage = () => /** @type {Storage} */ (globalThis[name]);

  /** @param {string} key @param {string} value */
  function persist(key, value) {
    return attempted(() => {
      storage().setItem(key, value);
      // Some privacy settings make `setItem` do nothing.
      return storage().getItem(key) === value;
    }, false);
  }

  /** @param {string} key @param {string} value */
  function setItem(key, value) {
    if (persist(key, value)) return void memory.delete(key);
    memory.set(key, value);
    refused(new Error(`${name} does not take values`));
  }

  /** @param {string} key */
  function removeItem(key) {
    const removed = attempted(() => (storage().removeItem(key), storage().getItem(key) === null), false);
    if (removed) memory.delete(key);
    else memory.set(key, null);
  }

  /** @param {string} key @returns {string | null} */
  function getItem(key) {
    const held = memory.get(key);
    if (held !== undefined) return held;
    const value = attempted(() => storage().getItem(key), null);
    return typeof value === "string" ? value : null;
  }

  function keys() {
    const stored = attempted(() => Array.from({ length: storage().length }, (_, index) => storage().key(index)), []);
    return [...new Set([...stored, ...memory.keys()])].filter((key) => typeof key === "string").filter((key) => getItem(key) !== null);
  }

  return { getItem, setItem, removeItem, persist, keys };
}

/**
 * Opens a database. The caller bounds the time: the browser may never answer.
 * @param {string} name @param {number} version
 * @param {(database: IDBDatabase) => void} upgrade creates the object stores
 * @returns {Promise<IDBDatabase>}
 */
export function openDatabase(name, version, upgrade) {
  return new Promise((resolve, reject) => {
    const opening = globalThis.indexedDB.open(name, version);
    opening.onupgradeneeded = () => upgrade(opening.result);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

/** Deletes a database that cannot be used. @param {string} name @returns {Promise<void>} */
export function deleteDatabase(name) {
  return new Promise((resolve, reject) => {
    const deleting = globalThis.indexedDB.deleteDatabase(name);
    deleting.onsuccess = () => resolve();
    deleting.onerror = () => reject(deleting.error);
  });
}

/** Bounds of keys that begin with `prefix`. @param {...string} prefix */
export function keysUnder(...prefix) {
  return globalThis.IDBKeyRange.bound(prefix, [...prefix, []]);
}

/** Bounds of keys before and after those that begin with `prefix`. @param {...string} prefix */
export function keysOutside(...prefix) {
  return [globalThis.IDBKeyRange.upperBound(prefix, true), globalThis.IDBKeyRange.lowerBound([...prefix, []])];
}

/** @returns {Pick<LockManager, "request"> | undefined} Web Locks; undefined where there are none: they need https or localhost */
export function webLocks() {
  const locks = attempted(() => globalThis.navigator.locks, undefined);
  return typeof locks?.request === "function" ? locks : undefined;
}

/** 128 random bits in hexadecimal. They need not be secret, so `Math.random` does where `crypto` is broken. */
export function randomId() {
  const bytes = attempted(() => globalThis.crypto.getRandomValues(new Uint8Array(16)), Uint8Array.from({ length: 16 }, () => Math.random() * 256));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** An `AbortSignal` that fires after this time; undefined where the browser has none. @param {number} timeout_ms */
export function timeoutSignal(timeout_ms) {
  return attempted(() => AbortSignal.timeout(timeout_ms), undefined);
}

/** Time in ms that passes evenly, whatever happens to the device's clock. It may stand still while the device sleeps. */
export function evenTime() {
  return attempted(() => performance.now(), 0);
}

/** Whether this page is seen and has the keyboard. A window can be visible and unfocused. */
export function hasFocus() {
  return attempted(() => !document.hidden && document.hasFocus(), !isHidden());
}

/** Whether the page is in the background. */
export function isHidden() {
  return attempted(() => document.hidden === true, false);
}

/** False only if the browser says that there is no network. */
export function isOnline() {
  return attempted(() => navigator.onLine !== false, true);
}

/** Whether text is typed on the screen: Enter then breaks the line, and focus opens a keyboard that covers the messages. */
export function hasTouchKeyboard() {
  return attempted(() => matchMedia("(hover: none) and (pointer: coarse)").matches, false);
}

/** Whether a field grows with its text by itself. */
export function growsByStyle() {
  return attempted(() => CSS.supports("field-sizing", "content"), false);
}

/**
 * The locale for dates, numbers and order: the reader's variant of the page's language, so that one page speaks one language.
 * @param {string} language of the page
 */
export function localeFor(language) {
  const primary = language.split("-")[0];
  const wanted = attempted(() => [...navigator.languages], []).find((tag) => typeof tag === "string" && tag.split("-")[0] === primary);
  return attempted(() => Intl.getCanonicalLocales(wanted ?? language)[0] ?? language, language);
}

/** Calls back whenever the element's size changes; with the window's size where the browser cannot say it. @param {Element} element @param {() => void} changed */
export function onResize(element, changed) {
  const observed = attempted(() => (new ResizeObserver(changed).observe(element), true), false);
  if (!observed) addEventListener("resize", changed);
}

/** Puts a path into the address bar. @param {string} path */
export function showPath(path) {
  // Browsers limit how often a page may do this.
  attempted(() => history.pushState(null, "", path), undefined);
}

/**
 * @typedef {object} Notifier
 * @property {() => boolean} offered whether it makes sense to ask for permission
 * @property {() => boolean} granted
 * @property {() => Promise<void>} ask asks for permission
 * @property {(title: string, options: NotificationOptions, clicked: () => void) => void} show
 * @property {() => void} close removes what this page has shown
 */

/** System notifications. @returns {Notifier} */
export function notifier() {
  const permission = () => attempted(() => globalThis.Notification.permission, "denied");
  // Chromium on Android has the constructor, and it throws: there, notifications need a service worker, which this page has not. Without
  // permission the constructor shows nothing elsewhere, so it can be tried.
  let works = "Notification" in globalThis;
  /** @type {Notification[]} */
  let open = [];
  const close = () => {
    for (const each of open) attempted(() => each.close(), undefined);
    open = [];
  };
  if (works && permission() !== "granted") works = attempted(() => (new globalThis.Notification(""), true), false);
  return {
    offered: () => works && permission() === "default",
    granted: () => works && permission() === "granted",
    async ask() {
      try {
        await globalThis.Notification.requestPermission();
      } catch {
        works = false;
      }
    },
    show(title, options, clicked) {
      try {
        const shown = new globalThis.Notification(title, options);
        open.push(shown);
        shown.onclick = () => {
          attempted(() => window.focus(), undefined);
          close();
          clicked();
        };
      } catch {
        works = false;
      }
    },
    close,
  };
}
