/**
 * Texts that are being written. A draft belongs to a room and a login. Every tab goes on with its own; a new tab begins with the latest of any tab.
 *
 * Drafts and unsent messages of a login that is over are deleted, except what the reader carries over from a page that still shows it: see `carry`.
 */

const PREFIX = "trunkline:draft:";
/** What is carried over lies under this key of the tab's own storage. */
const CARRIED = "trunkline:carried";
/** Maximum time in ms from "log in again" to the next page. After it, another person may be at the browser. */
const CARRIED_MOST = 300_000;

/** @typedef {import("./machine.js").Entry} Entry */
/** @typedef {Pick<import("./facilities.js").KeyValueStore, "getItem" | "setItem" | "removeItem" | "keys">} Storage */
/** @typedef {{user: string, at: number, drafts: [room: string, text: string][], entries: Entry[]}} Carried */

/**
 * @param {Storage} tab lives as long as the tab
 * @param {Storage} shared by all tabs
 * @param {string} login
 */
export function draftStore(tab, shared, login) {
  /** @param {string} room */
  const keyOf = (room) => `${PREFIX}${login}:${room}`;
  /** @param {string} room */
  const read = (room) => tab.getItem(keyOf(room)) ?? shared.getItem(keyOf(room)) ?? "";

  /** @param {string} room @param {string} text empty: there is no draft any more */
  function write(room, text) {
    const key = keyOf(room);
    const before = tab.getItem(key);
    tab.setItem(key, text); // empty, it hides the drafts of other tabs
    if (text !== "") shared.setItem(key, text);
    else if (before === null || shared.getItem(key) === before) shared.removeItem(key);
  }

  /** Every draft that this tab would show. @returns {[room: string, text: string][]} */
  function all() {
    const prefix = keyOf("");
    const rooms = new Set([...tab.keys(), ...shared.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length)));
    return [...rooms].map((room) => /** @type {[string, string]} */ ([room, read(room)])).filter(([, text]) => text !== "");
  }

  /** Deletes the drafts of this login, or of all others. @param {boolean} others */
  function drop(others) {
    for (const storage of [tab, shared]) {
      for (const key of storage.keys()) {
        if (key.startsWith(PREFIX) && key.startsWith(keyOf("")) !== others) storage.removeItem(key);
      }
    }
  }

  return { read, write, all, keyOf, drop: () => drop(false), retain: () => drop(true) };
}

/**
 * Keeps what a page shows whose session has ended, for the next login in this tab. Only on a click of the reader: the texts are on the screen, so
 * the click shows them to no other person.
 * @param {Storage} tab @param {Carried} carried
 */
export function carry(tab, carried) {
  tab.setItem(CARRIED, JSON.stringify(carried));
}

/**
 * Takes what was carried over, once, if it is of this user and recent.
 * @param {Storage} tab @param {string} user @param {number} now
 * @returns {Pick<Carried, "drafts" | "entries">}
 */
export function takeCarried(tab, user, now) {
  const none = { drafts: [], entries: [] };
  const text = tab.getItem(CARRIED);
  tab.removeItem(CARRIED);
  try {
    const carried = JSON.parse(text ?? "null");
    const fits = carried?.user === user && Math.abs(now - carried.at) <= CARRIED_MOST && Array.isArray(carried.drafts) && Array.isArray(carried.entries);
    return fits ? carried : none;
  } catch {
    return none;
  }
}
