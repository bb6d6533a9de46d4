/**
 * The decision core of a Trunkline client: events in, effects out.
 *
 * The machine opens no socket, sets no timer, reads no clock and has no generator of its own. Its driver (`trunkline.js` in a page or in Node, a
 * simulated world in the tests) passes the time with every event, carries out the effects in order, and sends `{"type":"tick"}` at `wake`. Every
 * rule of reconnecting, resuming and retrying can therefore be tested in microseconds.
 *
 * The outbox is in `entries.js`, the types are in `effects.d.ts`. `vectors/README.md` names every event and effect; the vectors beside it pin what they do.
 */

import { entryQueue } from "./entries.js";

/** Bounds of the back-off in ms: full jitter under a ceiling that doubles from the first to the second. */
const BACKOFF_FIRST = 500;
const BACKOFF_MOST = 20_000;
/** Maximum time in ms from the start of an attempt to `welcome`. */
const ATTEMPT_TIMEOUT = 10_000;
/** Life in ms after which a socket has proven the way; its loss starts the back-off afresh. */
const STABLE_AFTER = 10_000;
/** Close codes by which the server blames the client, and the number of failures with which the back-off begins then (0 to 4 s). */
const BLAMED = [1003, 1007, 1008, 1009];
const BLAMED_FAILURES = 3;
/** Number of ping intervals without a frame after which a socket counts as dead, whatever the browser says. */
const SILENCE = 1.6;
/** Part of that time without a frame after which a page that becomes visible checks its socket. */
const QUIET = 0.7;
/** Ping interval in ms where `welcome` names none. */
const PING_INTERVAL = 25_000;
/** Maximum time in ms for the answer to a check of the socket. */
const CHECK_TIMEOUT = 3_000;
/** A frame that comes later than this, in ms after the browser said "offline", cannot have been under way: the socket works. */
const IN_FLIGHT = 2_000;
/** Minimum time in ms between two `typing` commands. Others show the notice for 5 s. */
const TYPING_EVERY = 3_000;
/** Number of positions that a room remembers, to show each message once. */
const SEEN_MOST = 1_024;
/** The position before every message. */
const ORIGIN = "0-0";

/** @typedef {import("./effects.js").Entry} Entry */
/** @typedef {import("./effects.js").Message} Message */
/** @typedef {import("./effects.js").Frame} Frame */
/** @typedef {import("./effects.js").Event} Event */
/** @typedef {import("./effects.js").StateEffect} StateEffect */
/** @typedef {import("./effects.js").Effect} Effect */
/** @typedef {import("./effects.js").Room} Room */

/**
 * @param {{user?: string | null, login?: string | null, random?: () => number}} [options] `user`: the user of this machine; learned from the server
 *   if left out, and never changed after that. `login`: the id of the user's login; another login of the same name ends the machine. `random`:
 *   returns numbers from 0 up to, not including, 1
 */
export function machine({ user: me = null, login = null, random = Math.random } = {}) {
  let now = 0;
  /** @type {Effect[]} */
  let out = [];
  let offline = false;
  let sockets = 0;
  let failures = 0;
  /** The attempt to connect that is under way. @type {{socket: number, open: boolean, deadline: number} | null} */
  let trial = null;
  /**
   * The socket that said `welcome`. `lastFrame`: time of the last frame. `doubted`: since when the browser has said that there is no network, null if it
   * has not. `checkEnd`: when the answer to a check is due.
   * @type {{socket: number, instance: string, since: number, lastFrame: number, silence: number, handoverAt: number | null,
   *   doubted: number | null, checkEnd: number | null} | null}
   */
  let active = null;
  /** @type {{at: number, cause: string, drain: boolean} | null} */
  let retry = null;
  /** @type {Map<string, Room>} */
  let rooms = new Map();
  const outbox = entryQueue({ now: () => now, user: () => me, roomOf: (name) => rooms.get(name), emit, transmit });

  /**
   * @param {number} at milliseconds since the Unix epoch
   * @param {Event} event
   * @returns {Effect[]} to be carried out in this order
   */
  function handle(at, event) {
    now = at;
    out = [];
    on[event.type](/** @type {any} */ (event));
    return out;
  }

  // ---------------------------------------------------------------- connection

  /** What each event does. @type {{[K in Event["type"]]: (event: Extract<Event, {type: K}>) => void}} */
  const on = {
    connect() {
      if (!active && !trial) attempt();
    },
    disconnect: () => stop({ do: "state", state: "closed" }),
    online() {
      const back = offline;
      offline = false;
      nudge(back);
    },
    offline() {
      offline = true;
      if (active) {
        if (active.doubted === null) emit({ do: "state", state: "offline", cause: "network" });
        active.doubted ??= now;
      } else if (retry) {
        emitWaiting(retry);
      }
    },
    unanswered({ socket }) {
      if (active?.socket === socket && active.checkEnd === null && !trial) check(active);
    },
    visible: () => nudge(active !== null && now - active.lastFrame >= active.silence * QUIET),
    discard: ({ room, id }) => outbox.settle(room, id, { state: "discarded" }),
    tick, probed, frame: received, closed, join: addRoom, leave: removeRoom, outbox: outbox.loaded, send: outbox.send, retry: outbox.again, history, typing,
  };

  function attempt() {
    retry = null;
    const socket = ++sockets;
    trial = { socket, open: false, deadline: now + ATTEMPT_TIMEOUT };
    if (!active || active.doubted !== null) emit({ do: "state", state: "connecting" });
    emit({ do: "probe", socket });
  }

  /** @param {Extract<Event, {type: "probed"}>} event */
  function probed({ socket, status, user, login: found, retry_after_ms = 0 }) {
    if (trial?.socket !== socket) return;
    if (status === 401) return end("not_logged_in");
    if (status === 200 && user !== undefined) {
      if (!identify(user, found)) return;
      trial.open = true;
      emit({ do: "open", socket });
    } else {
      failed(status === 503 ? "unavailable" : "unreachable", { after: retry_after_ms });
    }
  }

  /** The attempt under way came to nothing. @param {string} cause @param {{after?: number, code?: number}} [more] */
  function failed(cause, more) {
    if (trial?.open) emit({ do: "close", socket: trial.socket });
    trial = null;
    backOff(cause, more);
  }

  /** @param {string} cause @param {{after?: number, code?: number}} [more] */
  function backOff(cause, { after = 0, code } = {}) {
    retry = { at: now + after + jitter(failures++), cause, drain: false };
    if (!active) emitWaiting(retry, code);
  }

  /** @param {number} failures */
  function jitter(failures) {
    return Math.floor(random() * Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(failures, 16)));
  }

  /** @param {{at: number, cause: string}} retry @param {number} [code] */
  function emitWaiting({ at, cause }, code) {
    const state = offline ? "offline" : "waiting";
    emit({ do: "state", state, cause, retry_at: at, code });
  }

  /** @param {number} socket @param {Frame} frame */
  function welcome(socket, frame) {
    const old = active;
    trial = null;
    active = {
      socket,
      instance: frame.instance,
      since: now,
      lastFrame: now,
      silence: Math.round((frame.ping_interval_ms || PING_INTERVAL) * SILENCE),
      handoverAt: null,
      doubted: null,
      checkEnd: null,
    };
    if (old) emit({ do: "close", socket: old.socket });
    if (!identify(frame.user, frame.login)) return;
    emitConnected(active);
    for (const room of rooms.values()) {
      forgetSubscription(room);
      join(room);
    }
  }

  /** @param {{instance: string}} active */
  function emitConnected({ instance }) {
    emit({ do: "state", state: "connected", user: me ?? "", instance });
  }

  /**
   * Compares the user and login that the server names with those of the machine. If they differ, the machine ends and this returns false: an outbox is
   * never sent under another name, nor by another person under the same name.
   * @param {string} user @param {string} [found] the login, where the server names it
   */
  function identify(user, found) {
    if (me === null) {
      me = user;
      for (const room of rooms.values()) emit({ do: "load", user, room: room.name });
    }
    const same = me === user && (login === null || found === undefined || found === login);
    if (!same) end(me === user ? "other_login" : "other_user");
    return same;
  }

  /** @param {{socket: number, code: number}} event */
  function closed({ socket, code }) {
    if (trial?.socket === socket) {
      trial.open = false;
      if (!forGood(code)) failed("closed", { code });
    } else if (active?.socket === socket) {
      lost(code);
    }
  }

  /** Handles the close codes after which the client does not reconnect. @param {number} code */
  function forGood(code) {
    if (code === 4401) end("session_ended");
    if (code === 4409) stop({ do: "state", state: "down", cause: "too_many_sockets" });
    return code === 4401 || code === 4409;
  }

  /** The active socket is gone. @param {number} code @param {string} [cause] */
  function lost(code, cause = "closed") {
    if (!active) return;
    const { handoverAt, since } = active;
    active = null;
    for (const room of rooms.values()) forgetSubscription(room);
    if (forGood(code)) return;
    if (trial) return emit({ do: "state", state: "connecting" });
    if (retry) return emitWaiting(retry, code);
    if (handoverAt !== null) {
      retry = { at: Math.max(handoverAt, now), cause: "drain", drain: true };
      return emitWaiting(retry, code);
    }
    if (now - since >= STABLE_AFTER) failures = 0;
    if (BLAMED.includes(code)) failures = Math.max(failures, BLAMED_FAILURES);
    backOff(cause, { code: cause === "closed" ? code : undefined });
  }

  function silent() {
    return active !== null && now - active.lastFrame >= active.silence;
  }

  function hangUp() {
    if (!active) return;
    emit({ do: "close", socket: active.socket });
    lost(1006, "silence");
  }

  /**
   * The network or the page is back: ends a back-off, but not a time that a draining server named.
   * @param {boolean} suspect the socket may be dead: it is checked
   */
  function nudge(suspect) {
    if (silent()) hangUp();
    if (active && suspect && !trial) check(active);
    if (retry && !retry.drain) attempt();
  }

  /**
   * Makes the server say something: it answers a second `join` of a room like the first. A socket without rooms is replaced instead.
   * @param {NonNullable<typeof active>} socket
   */
  function check(socket) {
    const room = [...rooms.values()].find(({ name }) => followed(name));
    if (!room) return attempt();
    if (socket.doubted !== null) emit({ do: "state", state: "connecting" });
    socket.checkEnd = now + CHECK_TIMEOUT;
    if (room.paging) pageFailed(room, "closed");
    join(room);
  }

  /** @param {string} cause */
  function end(cause) {
    stop({ do: "state", state: "ended", cause });
  }

  /** @param {StateEffect} state */
  function stop(state) {
    if (trial?.open) emit({ do: "close", socket: trial.socket });
    if (active) emit({ do: "close", socket: active.socket });
    trial = active = retry = null;
    for (const room of rooms.values()) forgetSubscription(room);
    emit(state);
  }

  function tick() {
    if (silent()) hangUp();
    if (active?.checkEnd != null && now >= active.checkEnd) {
      hangUp();
      if (retry && !retry.drain) attempt();
    }
    if (trial && now >= trial.deadline) failed("timeout");
    if (active?.handoverAt != null && now >= active.handoverAt) {
      active.handoverAt = null;
      failures = 0;
      if (!trial) attempt();
    }
    if (retry && now >= retry.at) attempt();
    if (!active) return;
    for (const room of rooms.values()) {
      if (room.rejoinAt !== null && now >= room.rejoinAt) join(room);
      outbox.flush(room);
    }
  }

  // ---------------------------------------------------------------- frames

  /** @param {{socket: number, frame: Frame}} event */
  function received({ socket, frame }) {
    if (trial?.socket === socket && trial.open) {
      if (frame.type === "welcome") welcome(socket, frame);
      return;
    }
    if (active?.socket !== socket) return;
    active.lastFrame = now;
    if (active.doubted !== null && (active.checkEnd !== null || now - active.doubted >= IN_FLIGHT)) {
      active.doubted = null;
      emitConnected(active);
    }
    active.checkEnd = null;
    switch (frame.type) {
      case "ping": return transmit({ type: "pong" });
      case "closing": active.handoverAt = now + (frame.reconnect_after_ms ?? 0); return;
      case "error": return refused(frame);
      case "sent": return outbox.answered(frame.room, frame.id, { state: "sent", pos: frame.pos });
    }
    const room = rooms.get(frame.room);
    if (!room || room.phase === "gone") return;
    if (frame.type === "joined") return joined(room, frame);
    if (room.phase === "joining") return; // belongs to a subscription that was given up
    switch (frame.type) {
      case "message": return message(room, frame);
      case "history": return page(room, frame);
      case "presence": return presence(room, frame);
      case "typing": return emit({ do: "typing", room: room.name, user: frame.user });
    }
  }

  /** @param {Frame} frame */
  function transmit(frame) {
    if (active) emit({ do: "transmit", socket: active.socket, frame });
  }

  /** @param {Frame} frame */
  function refused({ code, retry_after_ms: after, room: name, id, detail }) {
    const room = rooms.get(name);
    const forNow = code === "unavailable" || code === "rate_limited";
    if (id !== undefined) {
      if (!forNow) return outbox.answered(name, id, { state: "failed", code });
      if (room && room.sending === id) {
        room.sending = null;
        room.sendAt = now + (after ?? jitter(room.refusals));
        room.refusals += 1;
      }
      return outbox.postponed(name, id, code);
    }
    if (room?.phase === "joining") { // commands take effect in order, so it is the `join` that is refused
      if (forNow) {
        // One after another: the server closes a socket that it had to refuse too often.
        const waiting = [...rooms.values()].filter(({ rejoinAt }) => rejoinAt !== null).length;
        room.rejoinAt = now + (after === undefined ? jitter(room.refusals++) : after * (waiting + 1));
        return;
      }
      dropRoom(name);
    } else if (room?.paging) {
      return pageFailed(room, code);
    }
    emit({ do: "refused", code, room: name, detail });
  }

  // ---------------------------------------------------------------- rooms

  /** @param {{room: string, recent?: number}} event */
  function addRoom({ room: name, recent = 50 }) {
    const held = rooms.get(name);
    if (held) {
      rooms = new Map([[name, held], ...rooms]); // the first to be joined again
      return;
    }
    /** @type {Room} */
    const room = {
      name, recent, phase: "gone", last: null, head: ORIGIN, resuming: false, missed: 0, seen: new Set(),
      loaded: false, sending: null, refusals: 0, sendAt: 0, rejoinAt: null, paging: null, typedAt: 0, here: null,
    };
    rooms.set(name, room);
    if (me !== null) emit({ do: "load", user: me, room: name });
    if (active) join(room);
  }

  /** @param {{room: string}} event */
  function removeRoom({ room: name }) {
    const room = rooms.get(name);
    if (!room) return;
    dropRoom(name);
    if (room.phase !== "gone") transmit({ type: "leave", room: name });
  }

  /** Unsent entries stay in the store, for the next join. @param {string} name */
  function dropRoom(name) {
    rooms.delete(name);
    outbox.drop(name);
  }

  /** @param {Room} room */
  function join(room) {
    room.phase = "joining";
    room.rejoinAt = null;
    transmit({ type: "join", room: room.name, after: room.last ?? undefined, recent: room.recent });
  }

  /** @param {Room} room */
  function forgetSubscription(room) {
    room.phase = "gone";
    room.sending = null;
    room.rejoinAt = null;
    room.sendAt = 0;
    room.typedAt = 0;
    if (room.paging) pageFailed(room, "closed");
  }

  /** @param {Room} room @param {Frame} frame */
  function joined(room, { head, resumed }) {
    const gap = !resumed && room.last !== null;
    room.phase = "behind";
    room.refusals = 0;
    room.head = head;
    room.missed = 0;
    room.resuming = resumed;
    if (!resumed) {
      room.seen.clear();
      if (room.paging) pageFailed(room, "gap");
      // No message will follow if the room is empty or none was asked for.
      room.last = head === ORIGIN || room.recent === 0 ? head : null;
      outbox.doubted(room.name);
    }
    emit({ do: "joined", room: room.name, head, resumed, gap });
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
  function message(room, { pos, id, user, text, at }) {
    if (pos === room.last || room.seen.has(pos)) return;
    room.seen.add(pos);
    if (room.seen.size > SEEN_MOST) for (const oldest of room.seen) { room.seen.delete(oldest); break; }
    room.last = pos;
    room.missed += 1;
    const own = user === me;
    if (own) outbox.settle(room.name, id, { state: "sent", pos });
    emit({ do: "message", room: room.name, message: { pos, id, user, text, at }, own });
    if (room.phase === "behind") reached(room);
    else outbox.flush(room);
  }

  /** The room, if the server has answered the `join`. @param {string} name */
  function followed(name) {
    const room = rooms.get(name);
    return room?.phase === "behind" || room?.phase === "live" ? room : null;
  }

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
    for (const { user, id, pos } of messages) if (user === me) outbox.settle(room.name, id, { state: "sent", pos });
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
  function presence(room, { count, here, came, went }) {
    if (!came && !went) {
      room.here = here === undefined ? null : new Set(here);
    } else if (room.here) {
      for (const user of went ?? []) room.here.delete(user);
      for (const user of came ?? []) room.here.add(user);
    }
    const list = room.here && [...room.here].sort();
    emit({ do: "presence", room: room.name, count, here: list, came: came ?? [], went: went ?? [] });
  }

  /** @param {{room: string}} event */
  function typing({ room: name }) {
    const room = followed(name);
    if (!room || now - room.typedAt < TYPING_EVERY) return;
    room.typedAt = now;
    transmit({ type: "typing", room: name });
  }

  /** @param {Effect} effect */
  function emit(effect) {
    out.push(effect);
  }

  return {
    handle,
    get user() { return me; },
    /** Whether the room was joined and not given up. Only then is a message accepted. @param {string} room */
    isIn: (room) => rooms.has(room),
    /** When to send the next `tick`; null: only an event can change anything. @returns {number | null} */
    get wake() {
      /** @type {(number | null | undefined)[]} */
      const times = [trial?.deadline, retry?.at];
      if (active) {
        times.push(active.lastFrame + active.silence, active.handoverAt, active.checkEnd);
        for (const room of rooms.values()) {
          times.push(room.rejoinAt);
          if (outbox.next(room)) times.push(room.sendAt);
        }
      }
      const due = times.filter((time) => typeof time === "number");
      return due.length ? Math.min(...due) : null;
    },
  };
}
