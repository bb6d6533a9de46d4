/**
 * The decision core of a Trunkline client: events in, effects out.
 *
 * It opens no socket, sets no timer, reads no clock and throws no dice: whoever drives it (`trunkline.js` in a page or in
 * Node, the tests in a simulated world) passes the time with every event, carries out the effects in order, and calls back
 * with `{"type":"tick"}` at `wake`. So every rule of reconnecting, resuming and retrying can be tested in microseconds.
 *
 * `vectors/README.md` names every event and effect; the vectors beside it pin what they do.
 */

/** Back-off: full jitter under a ceiling that doubles from the first to the second. */
const BACKOFF_FIRST = 500;
const BACKOFF_MOST = 20_000;
/** From the start of an attempt to `welcome`. */
const ATTEMPT_TIMEOUT = 10_000;
/** A socket that lived this long has proven the way; the next loss starts the back-off afresh. */
const STABLE_AFTER = 10_000;
/** Close codes by which the server says that it was our fault, and the step of the back-off to begin with then (0 to 4 s). */
const BLAMED = [1003, 1007, 1008, 1009];
const BLAMED_FAILURES = 3;
/** In ping intervals: who hears nothing for so long is not connected, whatever the socket says. */
const SILENCE = 1.6;
const PING_INTERVAL = 25_000;
/** The server forgets message ids after this time; a repetition could then make a second message. */
const IDS_FORGOTTEN = 600_000;
/** Others show "is typing" for five seconds; telling them more often than this is waste. */
const TYPING_EVERY = 3_000;
/** Positions a room remembers to show each message once. */
const SEEN_MOST = 1_024;
/** "Before everything." */
const ORIGIN = "0-0";

/**
 * One message of the outbox. It belongs to a user and outlives the page.
 * `at` orders the outbox; `tried` is the time of the first attempt, null before it.
 * @typedef {{user: string, room: string, id: string, text: string, at: number, tried: number | null,
 *   state: "pending" | "failed" | "unsure" | "sent" | "discarded", code?: string, pos?: string}} Entry
 */
/** @typedef {{pos: string, id: string, user: string, text: string, at: number}} Message */
/** @typedef {Record<string, any> & {type: string}} Frame */

/**
 * @typedef {{type: "connect"} | {type: "disconnect"} | {type: "tick"}
 *   | {type: "online"} | {type: "offline"} | {type: "visible"}
 *   | {type: "probed", socket: number, status: number, user?: string, retry_after_ms?: number}
 *   | {type: "frame", socket: number, frame: Frame}
 *   | {type: "closed", socket: number, code: number}
 *   | {type: "join", room: string, recent?: number} | {type: "leave", room: string}
 *   | {type: "outbox", room: string, entries: Entry[]}
 *   | {type: "send", room: string, id: string, text: string}
 *   | {type: "retry", room: string, id: string} | {type: "discard", room: string, id: string}
 *   | {type: "history", room: string, before?: string | null, limit?: number}
 *   | {type: "typing", room: string}} Event
 */
/**
 * @typedef {{do: "state", state: "connecting" | "closed"}
 *   | {do: "state", state: "connected", user: string, instance: string}
 *   | {do: "state", state: "waiting" | "offline", cause: string, retry_at: number, code?: number}
 *   | {do: "state", state: "ended" | "down", cause: string}} StateEffect
 */
/**
 * @typedef {StateEffect
 *   | {do: "probe", socket: number} | {do: "open", socket: number} | {do: "close", socket: number}
 *   | {do: "transmit", socket: number, frame: Frame}
 *   | {do: "load", user: string, room: string} | {do: "entry", entry: Entry}
 *   | {do: "joined", room: string, head: string, resumed: boolean, gap: boolean}
 *   | {do: "caught_up", room: string, missed: number}
 *   | {do: "message", room: string, message: Message, own: boolean}
 *   | {do: "history", room: string, before: string | null, messages: Message[], more: boolean}
 *   | {do: "history_failed", room: string, before: string | null, code: string}
 *   | {do: "presence", room: string, count: number, here: string[] | null, came: string[], went: string[]}
 *   | {do: "typing", room: string, user: string}
 *   | {do: "refused", code: string, room?: string, detail?: string}} Effect
 */

/**
 * `gone`: not subscribed on this socket. `joining`: `join` sent. `behind`: `joined` came, its `head` not yet. `live`: caught up.
 * @typedef {{
 *   name: string, recent: number, phase: "gone" | "joining" | "behind" | "live",
 *   last: string | null, head: string, resuming: boolean, missed: number, seen: Set<string>,
 *   loaded: boolean, sending: string | null, refusals: number, sendAt: number, rejoinAt: number | null,
 *   paging: {before: string | null} | null, typedAt: number, here: Set<string> | null,
 * }} Room
 */

/**
 * @param {{user?: string | null, random?: () => number}} [options] `user`: whom this machine speaks for; learned from the server if
 *   not given, and never changed after that. `random`: from 0 up to, not including, 1
 */
export function machine({ user: me = null, random = Math.random } = {}) {
  let now = 0;
  /** @type {Effect[]} */
  let out = [];
  let offline = false;
  let sockets = 0;
  let failures = 0;
  /** The attempt under way. @type {{socket: number, open: boolean, deadline: number} | null} */
  let trial = null;
  /** The socket that said `welcome`. @type {{socket: number, since: number, heard: number, silence: number, handoverAt: number | null} | null} */
  let active = null;
  /** @type {{at: number, cause: string, drain: boolean} | null} */
  let retry = null;
  /** @type {Map<string, Room>} */
  let rooms = new Map();
  /** In the order of `at`. `doubt`: continuity broke since the first attempt, so it may stand unseen. @type {{entry: Entry, doubt: boolean}[]} */
  let outbox = [];
  let lastAt = 0;

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
      offline = false;
      nudge();
    },
    offline() {
      offline = true;
      if (retry && !active) tellWaiting(retry);
    },
    visible: nudge,
    discard: ({ room, id }) => settle(room, id, { state: "discarded" }),
    tick, probed, frame: heard, closed, join: addRoom, leave: removeRoom, outbox: loaded, send, retry: again, history, typing,
  };

  function attempt() {
    retry = null;
    const socket = ++sockets;
    trial = { socket, open: false, deadline: now + ATTEMPT_TIMEOUT };
    if (!active) emit({ do: "state", state: "connecting" });
    emit({ do: "probe", socket });
  }

  /** @param {Extract<Event, {type: "probed"}>} event */
  function probed({ socket, status, user, retry_after_ms = 0 }) {
    if (trial?.socket !== socket) return;
    if (status === 401) return end("not_logged_in");
    if (status === 200 && user !== undefined) {
      if (!identify(user)) return;
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
    if (!active) tellWaiting(retry, code);
  }

  /** @param {number} failures */
  function jitter(failures) {
    return Math.floor(random() * Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(failures, 16)));
  }

  /** @param {{at: number, cause: string}} retry @param {number} [code] */
  function tellWaiting({ at, cause }, code) {
    const state = offline ? "offline" : "waiting";
    emit({ do: "state", state, cause, retry_at: at, code });
  }

  /** @param {number} socket @param {Frame} frame */
  function welcome(socket, frame) {
    const old = active;
    trial = null;
    active = {
      socket,
      since: now,
      heard: now,
      silence: Math.round((frame.ping_interval_ms || PING_INTERVAL) * SILENCE),
      handoverAt: null,
    };
    if (old) emit({ do: "close", socket: old.socket });
    if (!identify(frame.user)) return;
    emit({ do: "state", state: "connected", user: frame.user, instance: frame.instance });
    for (const room of rooms.values()) {
      forgetSubscription(room);
      join(room);
    }
  }

  /** False, and the end, if the server takes us for somebody else: an outbox is never sent under another name. @param {string} user */
  function identify(user) {
    if (me === null) {
      me = user;
      for (const room of rooms.values()) emit({ do: "load", user, room: room.name });
    }
    if (me !== user) end("other_user");
    return me === user;
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

  /** Whether this was the end: of the session, or by a newer socket of the same user. @param {number} code */
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
    if (retry) return tellWaiting(retry, code);
    if (handoverAt !== null) {
      retry = { at: Math.max(handoverAt, now), cause: "drain", drain: true };
      return tellWaiting(retry, code);
    }
    if (now - since >= STABLE_AFTER) failures = 0;
    if (BLAMED.includes(code)) failures = Math.max(failures, BLAMED_FAILURES);
    backOff(cause, { code: cause === "closed" ? code : undefined });
  }

  function silent() {
    return active !== null && now - active.heard >= active.silence;
  }

  function hangUp() {
    if (!active) return;
    emit({ do: "close", socket: active.socket });
    lost(1006, "silence");
  }

  /** The world may have changed (online, visible): do not sit out the back-off; but a draining server named its time. */
  function nudge() {
    if (silent()) hangUp();
    if (retry && !retry.drain) attempt();
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
      flush(room);
    }
  }

  // ---------------------------------------------------------------- frames

  /** @param {{socket: number, frame: Frame}} event */
  function heard({ socket, frame }) {
    if (trial?.socket === socket && trial.open) {
      if (frame.type === "welcome") welcome(socket, frame);
      return;
    }
    if (active?.socket !== socket) return;
    active.heard = now;
    switch (frame.type) {
      case "ping": return transmit({ type: "pong" });
      case "closing": active.handoverAt = now + (frame.reconnect_after_ms ?? 0); return;
      case "error": return refused(frame);
      case "sent": return answered(frame.room, frame.id, { state: "sent", pos: frame.pos });
    }
    const room = rooms.get(frame.room);
    if (!room || room.phase === "gone") return;
    if (frame.type === "joined") return joined(room, frame);
    if (room.phase === "joining") return; // the rest of a subscription that we gave up
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
      if (!forNow) return answered(name, id, { state: "failed", code });
      const item = find(name, id);
      if (room && room.sending === id) {
        room.sending = null;
        room.sendAt = now + (after ?? jitter(room.refusals));
        room.refusals += 1;
      }
      if (item) change(item, { state: "pending", code });
      return;
    }
    if (room?.phase === "joining") { // commands take effect in order, so it is the `join` that is refused
      if (forNow) {
        // Not all at once: the server closes a socket that it had to refuse too often.
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

  /** What is unsent stays in the store, for the next join. @param {string} name */
  function dropRoom(name) {
    rooms.delete(name);
    outbox = outbox.filter((item) => item.entry.room !== name);
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
      // Nothing will follow if there is nothing, or nothing was asked for.
      room.last = head === ORIGIN || room.recent === 0 ? head : null;
      for (const item of outbox) if (item.entry.room === room.name && item.entry.tried !== null) item.doubt = true;
    }
    emit({ do: "joined", room: room.name, head, resumed, gap });
    reached(room);
  }

  /** @param {Room} room */
  function reached(room) {
    if (room.phase !== "behind" || room.last !== room.head) return;
    room.phase = "live";
    emit({ do: "caught_up", room: room.name, missed: room.resuming ? room.missed : 0 });
    flush(room);
  }

  /** @param {Room} room @param {Frame} frame */
  function message(room, { pos, id, user, text, at }) {
    if (pos === room.last || room.seen.has(pos)) return;
    room.seen.add(pos);
    if (room.seen.size > SEEN_MOST) for (const oldest of room.seen) { room.seen.delete(oldest); break; }
    room.last = pos;
    room.missed += 1;
    const own = user === me;
    if (own) settle(room.name, id, { state: "sent", pos });
    emit({ do: "message", room: room.name, message: { pos, id, user, text, at }, own });
    if (room.phase === "behind") reached(room);
    else flush(room);
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
    for (const { user, id, pos } of messages) if (user === me) settle(room.name, id, { state: "sent", pos });
    emit({ do: "history", room: room.name, before, messages, more });
    flush(room);
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

  // ---------------------------------------------------------------- outbox

  /** @param {string} room @param {string} id */
  function find(room, id) {
    return outbox.find(({ entry }) => entry.room === room && entry.id === id);
  }

  /** Stored entries come first: they are older, or another tab's. @param {{room: string, entries: Entry[]}} event */
  function loaded({ room: name, entries }) {
    const room = rooms.get(name);
    if (!room) return;
    for (const entry of entries) {
      if (entry.user !== me || entry.room !== name || find(name, entry.id)) continue;
      // Whatever this page has seen began after that first attempt: only a lucky tail would have shown it.
      put(entry, true);
    }
    outbox.sort((a, b) => a.entry.at - b.entry.at);
    room.loaded = true;
    flush(room);
  }

  /** @param {Extract<Event, {type: "send"}>} event */
  function send({ room: name, id, text }) {
    const room = rooms.get(name);
    if (!room || me === null) return emit({ do: "refused", code: "not_joined", room: name });
    if (find(name, id)) return;
    lastAt = Math.max(now, lastAt + 1);
    put({ user: me, room: name, id, text, at: lastAt, tried: null, state: "pending" }, false);
    // With the message the others forget that somebody was typing.
    room.typedAt = 0;
    flush(room);
  }

  /** @param {Entry} entry not changed from here on, but replaced @param {boolean} doubt */
  function put(entry, doubt) {
    outbox.push({ entry, doubt });
    emit({ do: "entry", entry });
  }

  /** The person wants it sent (again), whatever became of earlier attempts. @param {{room: string, id: string}} event */
  function again({ room: name, id }) {
    const item = find(name, id);
    const room = rooms.get(name);
    if (!item || !room || item.entry.state === "pending") return;
    item.doubt = false;
    change(item, { state: "pending", tried: null });
    flush(room);
  }

  /** The first entry of the room that waits for the wire. @param {Room} room */
  function next(room) {
    if (!room.loaded || room.phase !== "live" || room.sending !== null) return undefined;
    return outbox.find(({ entry }) => entry.room === room.name && entry.state === "pending");
  }

  /** One at a time: only so does an `unavailable` not let a later message overtake. @param {Room} room */
  function flush(room) {
    for (let item = next(room); item && room.sendAt <= now; item = next(room)) {
      const { tried, id, text } = item.entry;
      if (item.doubt && tried !== null && now - tried >= IDS_FORGOTTEN) {
        change(item, { state: "unsure" });
        continue;
      }
      if (tried === null) {
        item.doubt = false;
        change(item, { state: "pending", tried: now });
      }
      room.sending = id;
      transmit({ type: "send", room: room.name, id, text });
    }
  }

  /** The one answer to a `send`. @param {string} name @param {string} id @param {Partial<Entry>} outcome */
  function answered(name, id, outcome) {
    const room = rooms.get(name);
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
    outbox = outbox.filter((other) => other !== item);
    change(item, outcome);
    const from = rooms.get(room);
    if (from?.sending === id && outcome.state === "sent") from.sending = null;
  }

  /** @param {{entry: Entry}} item @param {Partial<Entry>} changes */
  function change(item, changes) {
    const { code, ...entry } = item.entry;
    item.entry = { ...entry, ...changes };
    emit({ do: "entry", entry: item.entry });
  }

  /** @param {Effect} effect */
  function emit(effect) {
    out.push(effect);
  }

  return {
    handle,
    get user() { return me; },
    /** When to send the next `tick`; null: only an event can change anything. @returns {number | null} */
    get wake() {
      /** @type {(number | null | undefined)[]} */
      const times = [trial?.deadline, retry?.at];
      if (active) {
        times.push(active.heard + active.silence, active.handoverAt);
        for (const room of rooms.values()) {
          times.push(room.rejoinAt);
          if (next(room)) times.push(room.sendAt);
        }
      }
      const due = times.filter((time) => typeof time === "number");
      return due.length ? Math.min(...due) : null;
    },
  };
}
