/**
 * The outbox of a machine (see `machine.js`): the entries that wait, the order in which they are sent, and what becomes of them. Pure, like the machine.
 */

import { isAmendment } from "./fold.js";

/** @typedef {import("./effects.js").Entry} Entry */
/** @typedef {import("./effects.js").Room} Room */
/** @typedef {import("./effects.js").Effect} Effect */
/** @typedef {import("./effects.js").Event} Event */

/** Time in ms after which the server has forgotten message ids; a repetition could then make a second message. */
const IDS_FORGOTTEN = 600_000;

/**
 * @param {object} machine
 * @param {() => number} machine.now the time of the event
 * @param {() => string | null} machine.user
 * @param {(name: string) => Room | undefined} machine.roomOf
 * @param {(effect: Effect) => void} machine.emit
 * @param {(frame: import("./effects.js").Frame) => void} machine.transmit
 */
export function entryQueue({ now, user, roomOf, emit, transmit }) {
  /** In the order of `at`. `doubt`: continuity broke since the first attempt, so the log may hold it unseen. @type {{entry: Entry, doubt: boolean}[]} */
  let items = [];
  let lastAt = 0;

  /** @param {string} room @param {string} id */
  function find(room, id) {
    return items.find(({ entry }) => entry.room === room && entry.id === id);
  }

  /**
   * Entries of the store. Those that come with the first answer were written before any of this page, so they come first even if the device's clock
   * was set back since: then the page's own entries get a later `at`.
   * @param {{room: string, entries: Entry[]}} event
   */
  function loaded({ room: name, entries }) {
    const room = roomOf(name);
    if (!room) return;
    const own = items.filter(({ entry }) => entry.room === name);
    let last = 0;
    for (const entry of entries) {
      if (entry.user !== user() || entry.room !== name || find(name, entry.id)) continue;
      // The first attempt was made before this page began, so what this page has seen does not show whether it succeeded.
      put(entry, true);
      last = Math.max(last, entry.at);
    }
    for (const item of room.loaded ? [] : own) {
      if (item.entry.at <= last) change(item, { at: last + 1 });
      last = Math.max(last, item.entry.at);
    }
    lastAt = Math.max(lastAt, last);
    items.sort((a, b) => a.entry.at - b.entry.at);
    room.loaded = true;
    flush(room);
  }

  /** @param {Extract<Event, {type: "send"}>} event */
  function send({ room: name, id, after = 0, ...event }) {
    const room = roomOf(name);
    const me = user();
    if (!room || me === null) return emit({ do: "refused", code: "not_joined", room: name });
    if (find(name, id)) return;
    lastAt = Math.max(now(), lastAt + 1, after + 1);
    put({ user: me, room: name, id, ...contentOf(event), at: lastAt, tried: null, state: "pending" }, false);
    // A chat message ends the typing notice, so the next key stroke sends a new one.
    if (event.event === undefined) room.typedAt = 0;
    flush(room);
  }

  /** @param {Entry} entry not changed from here on, but replaced @param {boolean} doubt */
  function put(entry, doubt) {
    items.push({ entry, doubt });
    emit({ do: "entry", entry });
  }

  /** Sends an entry again, whatever became of earlier attempts. @param {{room: string, id: string}} event */
  function again({ room: name, id }) {
    const item = find(name, id);
    const room = roomOf(name);
    if (!item || !room || item.entry.state === "pending") return;
    item.doubt = false;
    change(item, { state: "pending", tried: null });
    flush(room);
  }

  /** The first entry of the room that can be sent. @param {Room} room */
  function next(room) {
    if (!room.loaded || room.phase !== "live" || room.sending !== null) return undefined;
    return items.find(({ entry }) => entry.room === room.name && entry.state === "pending");
  }

  /** Sends one entry at a time: otherwise, after an `unavailable`, a later message could overtake. @param {Room} room */
  function flush(room) {
    for (let item = next(room); item && room.sendAt <= now(); item = next(room)) {
      const { tried, id } = item.entry;
      if (item.doubt && tried !== null && now() - tried >= IDS_FORGOTTEN) {
        change(item, { state: "unsure" });
        continue;
      }
      if (tried === null) {
        item.doubt = false;
        change(item, { state: "pending", tried: now() });
      }
      room.sending = id;
      transmit({ type: "send", room: room.name, id, ...contentOf(item.entry) });
    }
  }

  /** The one answer to a `send`. @param {string} name @param {string} id @param {Partial<Entry>} outcome */
  function answered(name, id, outcome) {
    const room = roomOf(name);
    if (room?.sending === id) {
      room.sending = null;
      room.refusals = 0;
    }
    if (outcome.state === "failed") {
      const item = find(name, id);
      if (item) change(item, outcome);
    } else {
      settle(name, id, outcome);
    }
    if (room) flush(room);
  }

  /** @param {string} room @param {string} id @param {Partial<Entry>} outcome */
  function settle(room, id, outcome) {
    const item = find(room, id);
    if (!item) return;
    items = items.filter((other) => other !== item);
    change(item, outcome);
    const from = roomOf(room);
    if (from?.sending === id && outcome.state === "sent") from.sending = null;
  }

  /** @param {{entry: Entry}} item @param {Partial<Entry>} changes */
  function change(item, changes) {
    const { code, ...entry } = item.entry;
    item.entry = { ...entry, ...changes };
    emit({ do: "entry", entry: item.entry });
  }

  /** A `send` was refused for now. @param {string} room @param {string} id @param {string} code */
  function postponed(room, id, code) {
    const item = find(room, id);
    if (item) change(item, { state: "pending", code });
  }

  /** Continuity broke: the log may hold entries that were tried, unseen. @param {string} room */
  function doubted(room) {
    for (const item of items) if (item.entry.room === room && item.entry.tried !== null) item.doubt = true;
  }

  /** Forgets the entries of a room; the store keeps them. @param {string} room */
  function drop(room) {
    items = items.filter((item) => item.entry.room !== room);
  }

  return { loaded, send, again, next, flush, answered, settle, postponed, doubted, drop };
}

/** What is written. Absent fields are left out, except that an application event has `data`. @param {import("./effects.js").Content} content @returns {import("./effects.js").Content} */
function contentOf({ event, ref, text, data }) {
  if (event !== undefined && !isAmendment({ event })) data ??= null;
  return {
    ...(event === undefined ? {} : { event }),
    ...(ref === undefined ? {} : { ref }),
    ...(text === undefined ? {} : { text }),
    ...(data === undefined ? {} : { data }),
  };
}
