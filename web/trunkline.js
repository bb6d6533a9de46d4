/**
 * Trunkline's client, for pages and for Node 20 or later; it touches no document.
 *
 *     const client = new Client({ url: "https://chat.example/", user: "ann" });
 *     client.on("message", ({ room, message }) => console.log(room, message.user, message.text));
 *     client.join("lobby");
 *     client.connect();
 *     client.send("lobby", "hello");
 *     client.send("lobby", { event: "shipped", data: { by: "ups" } });
 *
 * A site with users of its own gives a source of tokens instead of a user: `new Client({ url, token: async () => (await fetch("/chat-token")).text() })`.
 *
 * It reconnects for ever, shows each message once and in order, says when messages may be missing, and sends what was written while it was
 * disconnected. `machine.js` decides all that; this file gives it a clock, sockets and a store. `fold.js` applies amendments to the messages of a room.
 */

import { browserStore } from "./browserstore.js";
import { answered, attempted, evenTime, randomId, timeoutSignal, webLocks } from "./facilities.js";
import { machine } from "./machine.js";
import { MemoryStore, outbox } from "./store.js";
import { normalised } from "./text.js";

/** @typedef {import("./machine.js").Event} Event */
/** @typedef {import("./machine.js").Effect} Effect */
/** @typedef {import("./machine.js").Content} Content */
/** @typedef {Exclude<Effect["do"], "probe" | "open" | "close" | "transmit" | "token" | "load">} Reported effects that the app can listen to: see `vectors/README.md` */

const PROTOCOL = "trunkline.v1";
/** What the subprotocol that carries a token begins with. */
const TOKEN_PREFIX = "trunkline.token.";
/** Maximum time in ms for a token of the source. */
const TOKEN_TIMEOUT = 10_000;
/** Maximum time in ms for the answer to a probe. */
const PROBE_TIMEOUT = 10_000;
/** Time in ms after which a socket that answers nothing to a message is checked. */
const ANSWER_TIMEOUT = 10_000;
/** Longest delay in ms that timers take. */
const LONGEST_TIMER = 0x7fffffff;

/**
 * @typedef {object} Options
 * @property {string | URL} [url] the site's root; a page's own origin if left out
 * @property {string | null} [user] the id of the user; learned from the server if left out, but then nothing can be sent before
 * @property {string | null} [login] the id of the user's login, which owns the unsent messages; the user's name if left out
 * @property {() => Promise<string>} [token] returns a JSON Web Token of the user, a new one for each call if the last one is about to end. Called before
 *   each attempt to connect, and when a token has used 80 % of its time. It authenticates instead of a session cookie. If it rejects, the client tries
 *   again with back-off
 * @property {import("./store.js").Store} [store] for unsent messages: in pages what the browser has, else memory
 * @property {typeof globalThis.fetch} [fetch] outside of browsers: one that sends the session cookie
 * @property {(url: string, protocols: string[]) => WebSocket} [open] outside of browsers: one that sends the session cookie
 * @property {Pick<LockManager, "request">} [locks]
 * @property {{get: () => number, set: (at: number) => void}} [written] the latest `at` of any entry, shared by the tabs of one browser
 * @property {() => number} [now] milliseconds since the Unix epoch
 * @property {() => number} [random] from 0 up to, not including, 1
 */

/**
 * The time by the device's clock, except that it never decreases: where the clock was set back, the time goes on from there. Otherwise a pause of a second
 * would last until the clock has caught up.
 * @param {() => number} clock milliseconds since the Unix epoch
 * @param {() => number} even milliseconds that pass evenly
 */
export function steadyClock(clock, even) {
  let last = clock();
  let lastEven = even();
  let correction = 0;
  return () => {
    const [now, evenNow] = [clock(), even()];
    if (now < last) correction += last - now + Math.max(0, Math.round(evenNow - lastEven));
    last = now;
    lastEven = evenNow;
    return now + correction;
  };
}

export class Client {
  #machine;
  #outbox;
  #url;
  #fetch;
  #open;
  #token;
  /** The tokens of the attempts to connect, by socket, from the probe until the socket opens. @type {Map<number, string>} */
  #tokens = new Map();
  #clock;
  #written;
  /** @type {Map<number, WebSocket>} */
  #sockets = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** By socket: runs while a message is unanswered. @type {Map<number, ReturnType<typeof setTimeout>>} */
  #unanswered = new Map();
  /** Events wait while effects are carried out, so that a listener may call back. @type {Event[]} */
  #events = [];
  #busy = false;
  /** @type {Map<string, Set<(effect: any) => void>>} */
  #listeners = new Map();

  /** @param {Options} [options] */
  constructor({
    url = globalThis.location.origin,
    user = null,
    login = null,
    token,
    store = "document" in globalThis ? browserStore() : new MemoryStore(),
    fetch = (input, init) => globalThis.fetch(input, init),
    open = (address, protocols) => new WebSocket(address, protocols),
    locks = webLocks(),
    written = { get: () => 0, set: () => {} },
    now = Date.now,
    random = Math.random,
  } = {}) {
    this.#machine = machine({ user, login, tokens: token !== undefined, random });
    this.#outbox = outbox(store, locks, randomId(), login);
    this.#written = written;
    this.#url = new URL(url);
    this.#fetch = fetch;
    this.#open = open;
    this.#token = token;
    this.#clock = steadyClock(now, evenTime);
  }

  /** @returns {string | null} */
  get user() {
    return this.#machine.user;
  }

  /**
   * @template {Reported} K
   * @param {K} name an effect of the state machine
   * @param {(effect: Extract<Effect, {do: K}>) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** The time in ms that `retry_at` of a state refers to: see `steadyClock`. */
  get now() {
    return this.#clock();
  }

  /** Connects, and reconnects from now on. While the client waits for the next attempt, it tries at once. */
  connect() {
    this.#feed({ type: "connect" });
  }

  /** Disconnects for good. Unsent messages stay in the store. */
  disconnect() {
    this.#feed({ type: "disconnect" });
  }

  /** Reports a change around the client: the network is back or gone, the page is visible again. @param {"online" | "offline" | "visible"} type */
  tell(type) {
    this.#feed({ type });
  }

  /** A room that is joined already becomes the first to be joined again. @param {string} room @param {{recent?: number}} [options] how many messages to begin with, 50 if left out */
  join(room, { recent } = {}) {
    this.#feed({ type: "join", room, recent });
  }

  /** @param {string} room */
  leave(room) {
    this.#feed({ type: "leave", room });
    this.#outbox.leave(room);
  }

  /** Whether the room was joined and the server has not refused it: only then does `send` accept a message. @param {string} room */
  isIn(room) {
    return this.#machine.isIn(room);
  }

  /**
   * Sends a chat message or an application event as soon as possible; `entry` effects report its state.
   * @param {string} room one that was joined
   * @param {string | {text: string, ref?: string} | {event: string, data?: any}} content the text of a message; a message that answers the one at the
   *   position `ref`; or an event with any JSON value of at most 16 KiB, null if left out
   * @returns {string} the entry's id
   */
  send(room, content) {
    return this.#send(room, typeof content === "string" ? { text: content } : content);
  }

  /** Replaces the text of an own message. @param {string} room @param {string} ref its position @param {string} text @returns {string} the entry's id */
  edit(room, ref, text) {
    return this.#send(room, { event: "edit", ref, text });
  }

  /** Deletes the text of an own message, or as a moderator of any. @param {string} room @param {string} ref its position @returns {string} the entry's id */
  delete(room, ref) {
    return this.#send(room, { event: "delete", ref });
  }

  /**
   * Reacts to a message, or takes a reaction back.
   * @param {string} room @param {string} ref the message's position
   * @param {string} key for example an emoji: 1 to 64 bytes without white space @param {boolean} [on] false takes it back
   * @returns {string} the entry's id
   */
  react(room, ref, key, on = true) {
    return this.#send(room, { event: "react", ref, data: { key, on } });
  }

  /** @param {string} room @param {Content} content */
  #send(room, content) {
    const id = randomId();
    const { text } = content;
    this.#feed({ type: "send", room, id, ...content, ...(text === undefined ? {} : { text: normalised(text) }), after: this.#written.get() });
    return id;
  }

  /**
   * Sends an ephemeral event to the others in the room: neither stored nor repeated, and dropped while the client is not connected. The server passes on one
   * per second and event name.
   * @param {string} room @param {string} event @param {any} [data] a JSON value of at most 4 KiB
   */
  signal(room, event, data) {
    this.#feed({ type: "signal", room, event, data });
  }

  /** The user has seen everything up to a position: moves the read mark of the room, which all devices of the user share. @param {string} room @param {string} pos */
  seen(room, pos) {
    this.#feed({ type: "seen", room, pos });
  }

  /** Sends a `failed` or `unsure` entry again. @param {string} room @param {string} id */
  retry(room, id) {
    this.#feed({ type: "retry", room, id });
  }

  /** Deletes the unsent messages of this login, and keeps none from now on. Disconnect first. */
  async forget() {
    if (this.user !== null) await this.#outbox.drop(this.user);
  }

  /** Gives an entry up. @param {string} room @param {string} id */
  discard(room, id) {
    this.#feed({ type: "discard", room, id });
  }

  /** Asks for older messages; `history` or `history_failed` answers. @param {string} room @param {{before?: string, limit?: number}} [page] */
  history(room, { before, limit } = {}) {
    this.#feed({ type: "history", room, limit, before });
  }

  /** Call it at every key stroke; the client sends it to the server every 3 s at most. @param {string} room */
  typing(room) {
    this.#feed({ type: "typing", room });
  }

  /** @param {Event} event @param {number} [now] */
  #feed(event, now = this.#clock()) {
    this.#events.push(event);
    if (this.#busy) return;
    this.#busy = true;
    for (let next = this.#events.shift(); next; next = this.#events.shift()) {
      for (const effect of this.#machine.handle(now, next)) this.#carryOut(effect);
    }
    this.#busy = false;
    this.#arm();
  }

  #arm() {
    clearTimeout(this.#timer);
    const wake = this.#machine.wake;
    if (wake === null) return;
    const delay = Math.min(Math.max(wake - this.#clock(), 0), LONGEST_TIMER);
    // A timer that fired has waited, even if the clock was set back meanwhile.
    this.#timer = setTimeout(() => this.#feed({ type: "tick" }, Math.max(this.#clock(), delay < LONGEST_TIMER ? wake : 0)), delay);
  }

  /** @param {Effect} effect */
  #carryOut(effect) {
    switch (effect.do) {
      case "probe": void this.#probe(effect.socket); return;
      case "open": return this.#connectSocket(effect.socket);
      case "close":
        this.#answered(effect.socket);
        return attempted(() => this.#sockets.get(effect.socket)?.close(1000), undefined);
      case "transmit": return this.#transmit(effect);
      case "token": void this.#takeToken().then((token) => this.#feed({ type: "token", socket: effect.socket, token })); return;
      case "load": return this.#claim(effect.user, effect.room);
      case "entry":
        if (effect.entry.at > this.#written.get()) this.#written.set(effect.entry.at);
        this.#outbox.save(effect.entry);
        break;
      case "joined": if (this.user !== null) this.#claim(this.user, effect.room); break; // other tabs may have gone meanwhile
    }
    for (const listener of this.#listeners.get(effect.do) ?? []) {
      try {
        listener(effect);
      } catch (error) {
        console.error(error); // a fault of a listener must not break the connection
      }
    }
  }

  /** @param {string} user @param {string} room */
  #claim(user, room) {
    void this.#outbox.claim(user, room, (entries) => this.#feed({ type: "outbox", room, entries }));
  }

  /** @returns {Promise<string | null>} null: the source has none now */
  async #takeToken() {
    try {
      const token = await answered(() => this.#token?.(), TOKEN_TIMEOUT);
      return typeof token === "string" && token !== "" ? token : null;
    } catch {
      return null;
    }
  }

  /** @param {number} socket */
  async #probe(socket) {
    try {
      /** @type {Record<string, string>} */
      const headers = { accept: "application/json" };
      if (this.#token) {
        const token = await this.#takeToken();
        if (token === null) return this.#feed({ type: "probed", socket, status: 0 });
        for (const older of this.#tokens.keys()) if (older < socket) this.#tokens.delete(older);
        this.#tokens.set(socket, token);
        headers.authorization = `Bearer ${token}`;
      }
      const response = await this.#fetch(new URL("session", this.#url), {
        headers,
        cache: "no-store",
        signal: timeoutSignal(PROBE_TIMEOUT),
      });
      const after = Number(response.headers.get("retry-after")) || 0;
      const body = response.ok ? await response.json() : {};
      this.#feed({
        type: "probed",
        socket,
        status: response.status,
        user: body.user,
        login: body.login,
        expires_in: body.expires_in,
        retry_after_ms: after * 1000,
      });
    } catch {
      this.#feed({ type: "probed", socket, status: 0 });
    }
  }

  /** @param {number} number */
  #connectSocket(number) {
    const address = new URL("ws", this.#url);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    /** @param {number} code */
    const closed = (code) => {
      this.#sockets.delete(number);
      this.#answered(number);
      this.#feed({ type: "closed", socket: number, code });
    };
    try {
      const token = this.#tokens.get(number);
      this.#tokens.delete(number);
      const socket = this.#open(address.href, token === undefined ? [PROTOCOL] : [PROTOCOL, `${TOKEN_PREFIX}${token}`]);
      this.#sockets.set(number, socket);
      socket.onmessage = ({ data }) => {
        this.#answered(number);
        const frame = parsed(data);
        if (frame) this.#feed({ type: "frame", socket: number, frame });
      };
      socket.onclose = ({ code }) => closed(code);
      socket.onerror = () => {}; // `close` follows
    } catch {
      closed(1006);
    }
  }

  /** A frame has come, or none can come any more. @param {number} socket */
  #answered(socket) {
    clearTimeout(this.#unanswered.get(socket));
    this.#unanswered.delete(socket);
  }

  /** @param {Extract<Effect, {do: "transmit"}>} effect */
  #transmit({ socket, frame }) {
    const text = JSON.stringify(frame);
    const put = () => {
      const to = this.#sockets.get(socket);
      if (to?.readyState !== 1) return;
      attempted(() => to.send(text), undefined);
      if (frame.type !== "send" || this.#unanswered.has(socket)) return;
      this.#unanswered.set(socket, setTimeout(() => this.#feed({ type: "unanswered", socket }), ANSWER_TIMEOUT));
    };
    // A message is stored before it is sent: after a crash, the next page must know that it may have been sent.
    if (frame.type === "send") void this.#outbox.written.then(put);
    else put();
  }
}

/** @param {unknown} data what arrived on a socket @returns {import("./machine.js").Frame | null} */
function parsed(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame?.type === "string" ? frame : null;
  } catch {
    return null;
  }
}
