/**
 * The rooms of a machine (see `machine.js`): what was joined, how far each room has arrived, its page of history under way, its users, and how far
 * the user has read. Pure, like the machine. It owns the outbox, since that is sent room by room.
 */

import { entryQueue } from "./entries.js";
import { isAmendment } from "./fold.js";
import { isLater, ORIGIN } from "./positions.js";

/** Minimum time in ms between two `typing` commands. Others show the notice for 5 s. */
const TYPING_EVERY = 3_000;
/** Minimum time in ms between two `seen` commands of one room. */
const MARK_EVERY = 2_000;
/** Number of positions that a room remembers, to show each message once. */
const SHOWN_MOST = 1_024;

/** @typedef {import("./effects.js").Frame} Frame */
/** @typedef {import("./effects.js").Event} Event */
/** @typedef {import("./effects.js").Effect} Effect */
/** @typedef {import("./effects.js").Room} Room */

/**
 * @param {object} machine
 * @param {() => number} machine.now the time of the event
 * @param {() => string | null} machine.user
 * @param {() => boolean} machine.isConnected whether a socket has said `welcome`
 * @param {(failures: number) => number} machine.jitter a random back-off in ms
 * @param {(effect: Effect) => void} machine.emit
 * @param {(frame: Frame) => void} machine.transmit
 */
export function subscriptions({ now, user, isConnected, jitter, emit, transmit }) {
  /** @type {Map<string, Room>} */
  let rooms = new Map();
  const outbox = entryQueue({ now, user, roomOf: (name) => rooms.get(name), emit, transmit });

  // ---------------------------------------------------------------- joining

  /** @param {{room: string, recent?: number}} event */
  function add({ room: name, recent = 50 }) {
    const held = rooms.get(name);
    if (held) {
      rooms = new Map([[name, held], ...rooms]); // the first to be joined again
      return;
    }
    /** @type {Room} */
    const room = {
      name, recent, phase: "gone", last: null, head: ORIGIN, resuming: false, missed: 0, shown: new Set(), loaded: false, sending: null,
      refusals: 0, sendAt: 0, rejoinAt: null, paging: null, typedAt: 0, people: null, mark: null, marked: null, markAt: 0,
    };
    rooms.set(name, room);
    const me = user();
    if (me !== null) emit({ do: "load", user: me, room: name });
    if (isConnected()) join(room);
  }

  /** @param {{room: string}} event */
  function remove({ room: name }) {
    const room = rooms.get(name);
    if (!room) return;
    drop(name);
    if (room.phase !== "gone") transmit({ type: "leave", room: name });
  }

  /** Unsent entries stay in the store, for the next join. @param {string} name */
  function drop(name) {
    rooms.delete(name);
    outbox.drop(name);
  }

  /** @param {Room} room */
  function join(room) {
    room.phase = "joining";
    room.rejoinAt = null;
    transmit({ type: "join", room: room.name, after: room.last ?? undefined, recent: room.recent });
  }

  /** Joins every room on a new socket. */
  function joinAll() {
    for (const room of rooms.values()) {
      forget(room);
      join(room);
    }
  }

  function firstFollowed() {
    return [...rooms.values()].find(({ name }) => followed(name));
  }

  /** Joins a room again, so that the server answers. */
  function joinAgain() {
    const room = firstFollowed();
    if (!room) return;
    if (room.paging) pageFailed(room, "closed");
    join(room);
  }

  /** The socket is gone. */
  function forgetAll() {
    for (const room of rooms.values()) forget(room);
  }

  /** @param {Room} room */
  function forget(room) {
    room.phase = "gone";
    room.sending = null;
    room.rejoinAt = null;
    room.sendAt = 0;
    room.typedAt = 0;
    room.markAt = 0;
    if (room.paging) pageFailed(room, "closed");
  }

  /** Asks for the stored entries of every room: the user is known now. @param {string} user */
  function loadAll(user) {
    for (const room of rooms.values()) emit({ do: "load", user, room: room.name });
  }

  // ---------------------------------------------------------------- frames

  /** A frame of a room. @param {Frame} frame */
  function received(frame) {
    const room = rooms.get(frame.room);
    if (!room || room.phase === "gone") return;
    if (frame.type === "joined") return joined(room, frame);
    if (room.phase === "joining") return; // belongs to a subscription that was given up
    switch (frame.type) {
      case "message": return message(room, frame);
      case "history": return page(room, frame);
      case "presence": return presence(room, frame);
      case "typing": return emit({ do: "typing", room: room.name, user: frame.user });
      case "signal": return emit({ do: "signal", room: room.name, user: frame.user, event: frame.event, data: frame.data });
      case "seen": return marked(room, frame.pos);
      case "left": return forget(room); // unasked: `forbidden` follows
    }
  }

  /** @param {Room} room @param {Frame} frame */
  function joined(room, { head, resumed, seen }) {
    const gap = !resumed && room.last !== null;
    room.phase = "behind";
    room.refusals = 0;
    room.head = head;
    room.missed = 0;
    room.resuming = resumed;
    if (!resumed) {
      room.shown.clear();
      if (room.paging) pageFailed(room, "gap");
      // No message will follow if the room is empty or none was asked for.
      room.last = head === ORIGIN || room.recent === 0 ? head : null;
      outbox.doubted(room.name);
    }
    emit({ do: "joined", room: room.name, head, resumed, gap });
    room.marked = null;
    if (seen !== undefined) marked(room, seen);
    sendMark(room);
    reached(room);
  }

  /** @param {Room} room */
  function reached(room) {
    if (room.phase !== "behind" || room.last !== room.head) return;
    room.phase = "live";
    emit({ do: "caught_up", room: room.name, missed: room.resuming ? room.missed : 0 });
    outbox.flush(room);
  }

  /** @param {Room} room @param {Frame} frame */
  function message(room, frame) {
    const message = entryOf(frame);
    const { pos, id } = message;
    if (pos === room.last || room.shown.has(pos)) return;
    room.shown.add(pos);
    if (room.shown.size > SHOWN_MOST) for (const oldest of room.shown) { room.shown.delete(oldest); break; }
    room.last = pos;
    if (!isAmendment(message)) room.missed += 1;
    const own = message.user === user();
    if (own) outbox.settle(room.name, id, { state: "sent", pos });
    emit({ do: "message", room: room.name, message, own });
    if (room.phase === "behind") reached(room);
    else outbox.flush(room);
  }

  /** The room, if the server has answered the `join`. @param {string} name */
  function followed(name) {
    const room = rooms.get(name);
    return room?.phase === "behind" || room?.phase === "live" ? room : null;
  }

  /** An error that belongs to no entry. @param {Frame} frame @returns {boolean} whether it is dealt with */
  function refused({ code, retry_after_ms: after, room: name }) {
    const room = rooms.get(name);
    if (room?.phase === "joining") { // commands take effect in order, so it is the `join` that is refused
      if (code === "unavailable" || code === "rate_limited") {
        // One after another: the server closes a socket that it had to refuse too often.
        const waiting = [...rooms.values()].filter(({ rejoinAt }) => rejoinAt !== null).length;
        room.rejoinAt = now() + (after === undefined ? jitter(room.refusals++) : after * (waiting + 1));
        return true;
      }
      drop(name);
    } else if (room?.phase === "gone" && code === "forbidden") { // the server has left it: a newer token does not allow it
      drop(name);
    } else if (room?.paging) {
      pageFailed(room, code);
      return true;
    } else if (room?.marked && code === "unavailable") { // of `typing` and `signal` a failure is not reported
      room.marked = null;
      return true;
    }
    return false;
  }

  /** A `send` was refused for now. @param {Frame} frame */
  function postponed({ code, retry_after_ms: after, room: name, id }) {
    const room = rooms.get(name);
    if (room && room.sending === id) {
      room.sending = null;
      room.sendAt = now() + (after ?? jitter(room.refusals));
      room.refusals += 1;
    }
    outbox.postponed(name, id, code);
  }

  // ---------------------------------------------------------------- history and people

  /** @param {Extract<Event, {type: "history"}>} event */
  function history({ room: name, before = null, limit = 50 }) {
    const room = followed(name);
    if (!room) return emit({ do: "history_failed", room: name, before, code: "not_joined" });
    if (room.paging) return emit({ do: "history_failed", room: name, before, code: "busy" });
    room.paging = { before };
    transmit({ type: "history", room: name, before: before ?? undefined, limit });
  }

  /** @param {Room} room @param {Frame} frame */
  function page(room, { before = null, messages, more }) {
    if (!room.paging || room.paging.before !== before) return;
    room.paging = null;
    for (const { user: author, id, pos } of messages) if (author === user()) outbox.settle(room.name, id, { state: "sent", pos });
    emit({ do: "history", room: room.name, before, messages, more });
    outbox.flush(room);
  }

  /** @param {Room} room @param {string} code */
  function pageFailed(room, code) {
    const before = room.paging?.before ?? null;
    room.paging = null;
    emit({ do: "history_failed", room: room.name, before, code });
  }

  /** @param {Room} room @param {Frame} frame */
  function presence(room, { count, users, joined, left }) {
    if (!joined && !left) {
      room.people = users === undefined ? null : byId(users);
    } else if (room.people) {
      for (const { user } of left ?? []) room.people.delete(user);
      for (const person of joined ?? []) room.people.set(person.user, person);
    }
    const list = room.people && [...room.people.values()].sort((a, b) => (a.user < b.user ? -1 : 1));
    emit({ do: "presence", room: room.name, count, users: list, joined: joined ?? [], left: left ?? [] });
  }

  /** @param {{room: string}} event */
  function typing({ room: name }) {
    const room = followed(name);
    if (!room || now() - room.typedAt < TYPING_EVERY) return;
    room.typedAt = now();
    transmit({ type: "typing", room: name });
  }

  /** @param {Extract<Event, {type: "signal"}>} event */
  function signal({ room, event, data = null }) {
    if (followed(room)) transmit({ type: "signal", room, event, data });
  }

  // ---------------------------------------------------------------- read marks

  /** The user has seen everything up to a position. @param {Extract<Event, {type: "seen"}>} event */
  function seen({ room: name, pos }) {
    const room = rooms.get(name);
    if (!room || !isLater(pos, room.mark)) return;
    room.mark = pos;
    sendMark(room);
  }

  /** The server's mark: of another device, or of an earlier connection. @param {Room} room @param {string} pos */
  function marked(room, pos) {
    if (isLater(pos, room.marked)) room.marked = pos;
    if (!isLater(pos, room.mark)) return;
    room.mark = pos;
    emit({ do: "seen", room: room.name, pos });
  }

  /** Whether the server's mark is behind. @param {Room} room */
  function owesMark(room) {
    return room.mark !== null && followed(room.name) !== null && isLater(room.mark, room.marked);
  }

  /** @param {Room} room */
  function sendMark(room) {
    if (room.mark === null || !owesMark(room) || room.markAt > now()) return;
    room.marked = room.mark;
    room.markAt = now() + MARK_EVERY;
    transmit({ type: "seen", room: room.name, pos: room.mark });
  }

  // ---------------------------------------------------------------- time

  /** Does what is due while there is a connection. */
  function tick() {
    for (const room of rooms.values()) {
      if (room.rejoinAt !== null && now() >= room.rejoinAt) join(room);
      sendMark(room);
      outbox.flush(room);
    }
  }

  /** The times at which `tick` has something to do. */
  function wakes() {
    const times = [];
    for (const room of rooms.values()) {
      times.push(room.rejoinAt);
      if (outbox.next(room)) times.push(room.sendAt);
      if (owesMark(room)) times.push(room.markAt);
    }
    return times;
  }

  return {
    add, remove, joinAll, joinAgain, forgetAll, loadAll, received, refused, postponed, history, typing, signal, seen, tick, wakes, outbox,
    /** @param {string} name */
    has: (name) => rooms.has(name),
    isAnyFollowed: () => firstFollowed() !== undefined,
  };
}

/** The fields of an entry, in the order in which the document has them. */
const ENTRY_FIELDS = ["pos", "id", "user", "name", "event", "ref", "text", "data", "deleted", "at"];

/** The entry in a `message` frame. @param {Frame} frame @returns {import("./effects.js").Message} */
function entryOf(frame) {
  return /** @type {any} */ (Object.fromEntries(ENTRY_FIELDS.filter((field) => field in frame).map((field) => [field, frame[field]])));
}

/** @param {import("./effects.js").Person[]} people */
function byId(people) {
  return new Map(people.map((person) => [person.user, person]));
}
