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

export class Machine {
  /** The user this machine speaks for; learned from the server if not given. Never changes after that. @type {string | null} */
  #user;
  #random;
  #now = 0;
  /** @type {Effect[]} */
  #out = [];
  #offline = false;
  #sockets = 0;
  #failures = 0;
  /** The attempt under way. @type {{socket: number, open: boolean, deadline: number} | null} */
  #trial = null;
  /** The socket that said `welcome`. @type {{socket: number, since: number, heard: number, silence: number, handoverAt: number | null} | null} */
  #active = null;
  /** @type {{at: number, cause: string, drain: boolean} | null} */
  #retry = null;
  /** @type {Map<string, Room>} */
  #rooms = new Map();
  /** In the order of `at`. `doubt`: continuity broke since the first attempt, so it may stand unseen. @type {{entry: Entry, doubt: boolean}[]} */
  #outbox = [];
  #lastAt = 0;

  /** @param {{user?: string | null, random?: () => number}} [options] */
  constructor({ user = null, random = Math.random } = {}) {
    this.#user = user;
    this.#random = random;
  }

  get user() {
    return this.#user;
  }

  /** When to send the next `tick`; null: only an event can change anything. @returns {number | null} */
  get wake() {
    /** @type {(number | null | undefined)[]} */
    const times = [this.#trial?.deadline, this.#retry?.at];
    const active = this.#active;
    if (active) {
      times.push(active.heard + active.silence, active.handoverAt);
      for (const room of this.#rooms.values()) {
        times.push(room.rejoinAt);
        if (this.#next(room)) times.push(room.sendAt);
      }
    }
    const due = times.filter((time) => typeof time === "number");
    return due.length ? Math.min(...due) : null;
  }

  /**
   * @param {number} now milliseconds since the Unix epoch
   * @param {Event} event
   * @returns {Effect[]} to be carried out in this order
   */
  handle(now, event) {
    this.#now = now;
    this.#out = [];
    switch (event.type) {
      case "connect": this.#connect(); break;
      case "disconnect": this.#stop({ do: "state", state: "closed" }); break;
      case "tick": this.#tick(); break;
      case "online": this.#offline = false; this.#nudge(); break;
      case "visible": this.#nudge(); break;
      case "offline":
        this.#offline = true;
        if (this.#retry && !this.#active) this.#tellWaiting(this.#retry);
        break;
      case "probed": this.#probed(event); break;
      case "frame": this.#frame(event.socket, event.frame); break;
      case "closed": this.#closed(event.socket, event.code); break;
      case "join": this.#addRoom(event.room, event.recent ?? 50); break;
      case "leave": this.#removeRoom(event.room); break;
      case "outbox": this.#loaded(event.room, event.entries); break;
      case "send": this.#send(event); break;
      case "retry": this.#again(event); break;
      case "discard": this.#settle(event.room, event.id, { state: "discarded" }); break;
      case "history": this.#history(event); break;
      case "typing": this.#typing(event.room); break;
    }
    return this.#out;
  }

  // ---------------------------------------------------------------- connection

  #connect() {
    if (!this.#active && !this.#trial) this.#attempt();
  }

  #attempt() {
    this.#retry = null;
    const socket = ++this.#sockets;
    this.#trial = { socket, open: false, deadline: this.#now + ATTEMPT_TIMEOUT };
    if (!this.#active) this.#emit({ do: "state", state: "connecting" });
    this.#emit({ do: "probe", socket });
  }

  /** @param {Extract<Event, {type: "probed"}>} event */
  #probed({ socket, status, user, retry_after_ms = 0 }) {
    if (this.#trial?.socket !== socket) return;
    if (status === 401) return this.#end("not_logged_in");
    if (status === 200 && user !== undefined) {
      if (!this.#identify(user)) return;
      this.#trial.open = true;
      this.#emit({ do: "open", socket });
    } else {
      this.#failed(status === 503 ? "unavailable" : "unreachable", { after: retry_after_ms });
    }
  }

  /** The attempt under way came to nothing. @param {string} cause @param {{after?: number, code?: number}} [more] */
  #failed(cause, more) {
    if (this.#trial?.open) this.#emit({ do: "close", socket: this.#trial.socket });
    this.#trial = null;
    this.#backOff(cause, more);
  }

  /** @param {string} cause @param {{after?: number, code?: number}} [more] */
  #backOff(cause, { after = 0, code } = {}) {
    this.#retry = { at: this.#now + after + this.#jitter(this.#failures++), cause, drain: false };
    if (!this.#active) this.#tellWaiting(this.#retry, code);
  }

  /** @param {number} failures */
  #jitter(failures) {
    return Math.floor(this.#random() * Math.min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** Math.min(failures, 16)));
  }

  /** @param {{at: number, cause: string}} retry @param {number} [code] */
  #tellWaiting({ at, cause }, code) {
    const state = this.#offline ? "offline" : "waiting";
    this.#emit({ do: "state", state, cause, retry_at: at, ...(code === undefined ? {} : { code }) });
  }

  /** @param {number} socket @param {Frame} frame */
  #welcome(socket, frame) {
    const old = this.#active;
    this.#trial = null;
    this.#active = {
      socket,
      since: this.#now,
      heard: this.#now,
      silence: Math.round((frame.ping_interval_ms || PING_INTERVAL) * SILENCE),
      handoverAt: null,
    };
    if (old) this.#emit({ do: "close", socket: old.socket });
    if (!this.#identify(frame.user)) return;
    this.#emit({ do: "state", state: "connected", user: frame.user, instance: frame.instance });
    for (const room of this.#rooms.values()) {
      this.#forgetSubscription(room);
      this.#join(room);
    }
  }

  /** False, and the end, if the server takes us for somebody else: an outbox is never sent under another name. @param {string} user */
  #identify(user) {
    if (this.#user === null) {
      this.#user = user;
      for (const room of this.#rooms.values()) this.#emit({ do: "load", user, room: room.name });
    }
    if (this.#user !== user) this.#end("other_user");
    return this.#user === user;
  }

  /** @param {number} socket @param {number} code */
  #closed(socket, code) {
    if (this.#trial?.socket === socket) {
      this.#trial.open = false;
      if (code === 4401) return this.#end("session_ended");
      if (code === 4409) return this.#stop({ do: "state", state: "down", cause: "too_many_sockets" });
      this.#failed("closed", { code });
    } else if (this.#active?.socket === socket) {
      this.#lost(code);
    }
  }

  /** The active socket is gone. @param {number} code @param {string} [cause] */
  #lost(code, cause = "closed") {
    const active = this.#active;
    if (!active) return;
    this.#active = null;
    for (const room of this.#rooms.values()) this.#forgetSubscription(room);
    if (code === 4401) return this.#end("session_ended");
    if (code === 4409) return this.#stop({ do: "state", state: "down", cause: "too_many_sockets" });
    if (this.#trial) return this.#emit({ do: "state", state: "connecting" });
    if (this.#retry) return this.#tellWaiting(this.#retry, code);
    if (active.handoverAt !== null) {
      this.#retry = { at: Math.max(active.handoverAt, this.#now), cause: "drain", drain: true };
      return this.#tellWaiting(this.#retry, code);
    }
    if (this.#now - active.since >= STABLE_AFTER) this.#failures = 0;
    if (BLAMED.includes(code)) this.#failures = Math.max(this.#failures, BLAMED_FAILURES);
    this.#backOff(cause, cause === "closed" ? { code } : {});
  }

  #silent() {
    return this.#active !== null && this.#now - this.#active.heard >= this.#active.silence;
  }

  #hangUp() {
    if (!this.#active) return;
    this.#emit({ do: "close", socket: this.#active.socket });
    this.#lost(1006, "silence");
  }

  /** The world may have changed (online, visible): do not sit out the back-off; but a draining server named its time. */
  #nudge() {
    if (this.#silent()) this.#hangUp();
    if (this.#retry && !this.#retry.drain) this.#attempt();
  }

  /** @param {string} cause */
  #end(cause) {
    this.#stop({ do: "state", state: "ended", cause });
  }

  /** @param {StateEffect} state */
  #stop(state) {
    if (this.#trial?.open) this.#emit({ do: "close", socket: this.#trial.socket });
    if (this.#active) this.#emit({ do: "close", socket: this.#active.socket });
    this.#trial = this.#active = this.#retry = null;
    for (const room of this.#rooms.values()) this.#forgetSubscription(room);
    this.#emit(state);
  }

  #tick() {
    const now = this.#now;
    if (this.#silent()) this.#hangUp();
    if (this.#trial && now >= this.#trial.deadline) this.#failed("timeout");
    const active = this.#active;
    if (active && active.handoverAt !== null && now >= active.handoverAt) {
      active.handoverAt = null;
      this.#failures = 0;
      if (!this.#trial) this.#attempt();
    }
    if (this.#retry && now >= this.#retry.at) this.#attempt();
    if (!this.#active) return;
    for (const room of this.#rooms.values()) {
      if (room.rejoinAt !== null && now >= room.rejoinAt) this.#join(room);
      this.#flush(room);
    }
  }

  // ---------------------------------------------------------------- frames

  /** @param {number} socket @param {Frame} frame */
  #frame(socket, frame) {
    if (this.#trial?.socket === socket && this.#trial.open) {
      if (frame.type === "welcome") this.#welcome(socket, frame);
      return;
    }
    const active = this.#active;
    if (active?.socket !== socket) return;
    active.heard = this.#now;
    switch (frame.type) {
      case "ping": return this.#transmit({ type: "pong" });
      case "closing": active.handoverAt = this.#now + (frame.reconnect_after_ms ?? 0); return;
      case "error": return this.#refused(frame);
      case "sent": return this.#answered(frame.room, frame.id, { state: "sent", pos: frame.pos });
    }
    const room = this.#rooms.get(frame.room);
    if (!room || room.phase === "gone") return;
    if (frame.type === "joined") return this.#joined(room, frame);
    if (room.phase === "joining") return; // the rest of a subscription that we gave up
    switch (frame.type) {
      case "message": return this.#message(room, frame);
      case "history": return this.#page(room, frame);
      case "presence": return this.#presence(room, frame);
      case "typing": return this.#emit({ do: "typing", room: room.name, user: frame.user });
    }
  }

  /** @param {Frame} frame */
  #transmit(frame) {
    if (this.#active) this.#emit({ do: "transmit", socket: this.#active.socket, frame });
  }

  /** @param {Frame} frame */
  #refused(frame) {
    const { code, retry_after_ms: after } = frame;
    if (frame.id !== undefined) {
      if (code !== "unavailable" && code !== "rate_limited") {
        return this.#answered(frame.room, frame.id, { state: "failed", code });
      }
      const room = this.#rooms.get(frame.room);
      const item = this.#find(frame.room, frame.id);
      if (room && room.sending === frame.id) {
        room.sending = null;
        room.sendAt = this.#now + (after ?? this.#jitter(room.refusals));
        room.refusals += 1;
      }
      if (item) this.#change(item, { state: "pending", code });
      return;
    }
    const room = this.#rooms.get(frame.room);
    if (room?.phase === "joining") { // commands take effect in order, so it is the `join` that is refused
      if (code === "unavailable" || code === "rate_limited") {
        room.rejoinAt = this.#now + (after ?? this.#jitter(room.refusals++));
        return;
      }
      this.#dropRoom(room.name);
    } else if (room?.paging) {
      return this.#pageFailed(room, code);
    }
    const { room: name, detail } = frame;
    this.#emit({ do: "refused", code, ...(name === undefined ? {} : { room: name }), ...(detail === undefined ? {} : { detail }) });
  }

  // ---------------------------------------------------------------- rooms

  /** @param {string} name @param {number} recent */
  #addRoom(name, recent) {
    if (this.#rooms.has(name)) return;
    /** @type {Room} */
    const room = {
      name, recent, phase: "gone", last: null, head: ORIGIN, resuming: false, missed: 0, seen: new Set(),
      loaded: false, sending: null, refusals: 0, sendAt: 0, rejoinAt: null, paging: null, typedAt: 0, here: null,
    };
    this.#rooms.set(name, room);
    if (this.#user !== null) this.#emit({ do: "load", user: this.#user, room: name });
    if (this.#active) this.#join(room);
  }

  /** @param {string} name */
  #removeRoom(name) {
    const room = this.#rooms.get(name);
    if (!room) return;
    this.#dropRoom(name);
    if (room.phase !== "gone") this.#transmit({ type: "leave", room: name });
  }

  /** What is unsent stays in the store, for the next join. @param {string} name */
  #dropRoom(name) {
    this.#rooms.delete(name);
    this.#outbox = this.#outbox.filter((item) => item.entry.room !== name);
  }

  /** @param {Room} room */
  #join(room) {
    room.phase = "joining";
    room.rejoinAt = null;
    const after = room.last === null ? {} : { after: room.last };
    this.#transmit({ type: "join", room: room.name, ...after, recent: room.recent });
  }

  /** @param {Room} room */
  #forgetSubscription(room) {
    room.phase = "gone";
    room.sending = null;
    room.rejoinAt = null;
    room.sendAt = 0;
    room.typedAt = 0;
    if (room.paging) this.#pageFailed(room, "closed");
  }

  /** @param {Room} room @param {Frame} frame */
  #joined(room, { head, resumed }) {
    const gap = !resumed && room.last !== null;
    room.phase = "behind";
    room.refusals = 0;
    room.head = head;
    room.missed = 0;
    room.resuming = resumed;
    if (!resumed) {
      room.seen.clear();
      if (room.paging) this.#pageFailed(room, "gap");
      // Nothing will follow if there is nothing, or nothing was asked for.
      room.last = head === ORIGIN || room.recent === 0 ? head : null;
      for (const item of this.#outbox) if (item.entry.room === room.name && item.entry.tried !== null) item.doubt = true;
    }
    this.#emit({ do: "joined", room: room.name, head, resumed, gap });
    this.#reached(room);
  }

  /** @param {Room} room */
  #reached(room) {
    if (room.phase !== "behind" || room.last !== room.head) return;
    room.phase = "live";
    this.#emit({ do: "caught_up", room: room.name, missed: room.resuming ? room.missed : 0 });
    this.#flush(room);
  }

  /** @param {Room} room @param {Frame} frame */
  #message(room, { pos, id, user, text, at }) {
    if (pos === room.last || room.seen.has(pos)) return;
    room.seen.add(pos);
    if (room.seen.size > SEEN_MOST) for (const oldest of room.seen) { room.seen.delete(oldest); break; }
    room.last = pos;
    room.missed += 1;
    const own = user === this.#user;
    if (own) this.#settle(room.name, id, { state: "sent", pos });
    this.#emit({ do: "message", room: room.name, message: { pos, id, user, text, at }, own });
    if (room.phase === "behind") this.#reached(room);
    else this.#flush(room);
  }

  /** @param {Extract<Event, {type: "history"}>} event */
  #history({ room: name, before = null, limit = 50 }) {
    const room = this.#rooms.get(name);
    if (!room || room.phase === "gone" || room.phase === "joining") {
      return this.#emit({ do: "history_failed", room: name, before, code: "not_joined" });
    }
    if (room.paging) return this.#emit({ do: "history_failed", room: name, before, code: "busy" });
    room.paging = { before };
    this.#transmit({ type: "history", room: name, ...(before === null ? {} : { before }), limit });
  }

  /** @param {Room} room @param {Frame} frame */
  #page(room, { before = null, messages, more }) {
    if (!room.paging || room.paging.before !== before) return;
    room.paging = null;
    for (const { user, id, pos } of messages) if (user === this.#user) this.#settle(room.name, id, { state: "sent", pos });
    this.#emit({ do: "history", room: room.name, before, messages, more });
    this.#flush(room);
  }

  /** @param {Room} room @param {string} code */
  #pageFailed(room, code) {
    const before = room.paging?.before ?? null;
    room.paging = null;
    this.#emit({ do: "history_failed", room: room.name, before, code });
  }

  /** @param {Room} room @param {Frame} frame */
  #presence(room, { count, here, came, went }) {
    if (came === undefined && went === undefined) {
      room.here = here === undefined ? null : new Set(here);
    } else if (room.here) {
      for (const user of went ?? []) room.here.delete(user);
      for (const user of came ?? []) room.here.add(user);
    }
    const list = room.here && [...room.here].sort();
    this.#emit({ do: "presence", room: room.name, count, here: list, came: came ?? [], went: went ?? [] });
  }

  /** @param {string} name */
  #typing(name) {
    const room = this.#rooms.get(name);
    if (!room || (room.phase !== "behind" && room.phase !== "live") || this.#now - room.typedAt < TYPING_EVERY) return;
    room.typedAt = this.#now;
    this.#transmit({ type: "typing", room: name });
  }

  // ---------------------------------------------------------------- outbox

  /** @param {string} room @param {string} id */
  #find(room, id) {
    return this.#outbox.find(({ entry }) => entry.room === room && entry.id === id);
  }

  /** Stored entries come first: they are older, or another tab's. @param {string} name @param {Entry[]} entries */
  #loaded(name, entries) {
    const room = this.#rooms.get(name);
    if (!room) return;
    for (const entry of entries) {
      if (entry.user !== this.#user || entry.room !== name || this.#find(name, entry.id)) continue;
      // Whatever this page has seen began after that first attempt: only a lucky tail would have shown it.
      const item = { entry: { ...entry }, doubt: true };
      this.#outbox.push(item);
      this.#emit({ do: "entry", entry: { ...entry } });
    }
    this.#outbox.sort((a, b) => a.entry.at - b.entry.at);
    room.loaded = true;
    this.#flush(room);
  }

  /** @param {Extract<Event, {type: "send"}>} event */
  #send({ room: name, id, text }) {
    const room = this.#rooms.get(name);
    if (!room || this.#user === null) return this.#emit({ do: "refused", code: "not_joined", room: name });
    if (this.#find(name, id)) return;
    this.#lastAt = Math.max(this.#now, this.#lastAt + 1);
    /** @type {Entry} */
    const entry = { user: this.#user, room: name, id, text, at: this.#lastAt, tried: null, state: "pending" };
    this.#outbox.push({ entry, doubt: false });
    this.#emit({ do: "entry", entry: { ...entry } });
    this.#flush(room);
  }

  /** The person wants it sent (again), whatever became of earlier attempts. @param {{room: string, id: string}} event */
  #again({ room: name, id }) {
    const item = this.#find(name, id);
    const room = this.#rooms.get(name);
    if (!item || !room || item.entry.state === "pending") return;
    item.doubt = false;
    this.#change(item, { state: "pending", tried: null });
    this.#flush(room);
  }

  /** The first entry of the room that waits for the wire. @param {Room} room */
  #next(room) {
    if (!room.loaded || room.phase !== "live" || room.sending !== null) return undefined;
    return this.#outbox.find(({ entry }) => entry.room === room.name && entry.state === "pending");
  }

  /** One at a time: only so does an `unavailable` not let a later message overtake. @param {Room} room */
  #flush(room) {
    for (let item = this.#next(room); item && room.sendAt <= this.#now; item = this.#next(room)) {
      const { tried, id, text } = item.entry;
      if (item.doubt && tried !== null && this.#now - tried >= IDS_FORGOTTEN) {
        this.#change(item, { state: "unsure" });
        continue;
      }
      if (tried === null) {
        item.doubt = false;
        this.#change(item, { state: "pending", tried: this.#now });
      }
      room.sending = id;
      this.#transmit({ type: "send", room: room.name, id, text });
    }
  }

  /** The one answer to a `send`. @param {string} name @param {string} id @param {Partial<Entry>} outcome */
  #answered(name, id, outcome) {
    const room = this.#rooms.get(name);
    if (room?.sending === id) {
      room.sending = null;
      room.refusals = 0;
    }
    if (outcome.state === "failed") {
      const item = this.#find(name, id);
      if (item) this.#change(item, outcome);
    } else {
      this.#settle(name, id, outcome);
    }
    if (room) this.#flush(room);
  }

  /** @param {string} room @param {string} id @param {Partial<Entry>} outcome */
  #settle(room, id, outcome) {
    const item = this.#find(room, id);
    if (!item) return;
    this.#outbox = this.#outbox.filter((other) => other !== item);
    this.#change(item, outcome);
    const from = this.#rooms.get(room);
    if (from?.sending === id && outcome.state === "sent") from.sending = null;
  }

  /** @param {{entry: Entry}} item @param {Partial<Entry>} changes */
  #change(item, changes) {
    const { code, ...entry } = item.entry;
    item.entry = { ...entry, ...changes };
    this.#emit({ do: "entry", entry: { ...item.entry } });
  }

  /** @param {Effect} effect */
  #emit(effect) {
    this.#out.push(effect);
  }
}
