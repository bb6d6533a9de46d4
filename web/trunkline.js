/**
 * Trunkline's client, for pages and for Node 20 or later; it touches no document.
 *
 *     const client = new Client({ url: "https://chat.example/", user: "ann" });
 *     client.on("message", ({ room, message }) => console.log(room, message.user, message.text));
 *     client.join("lobby");
 *     client.connect();
 *     client.send("lobby", "hello");
 *
 * It keeps the connection up for ever, shows each message once and in order, says when messages may be missing, and sends
 * what was written while away. `machine.js` decides all that; this file lends it a clock, sockets and a store.
 */

import { machine } from "./machine.js";
import { IndexedDbStore, MemoryStore, outbox } from "./store.js";

/** @typedef {import("./machine.js").Event} Event */
/** @typedef {import("./machine.js").Effect} Effect */
/** @typedef {Exclude<Effect["do"], "probe" | "open" | "close" | "transmit" | "load">} Told what the app hears of: see `vectors/README.md` */

const PROTOCOL = "trunkline.v1";
const PROBE_TIMEOUT = 10_000;
const LONGEST_TIMER = 0x7fffffff;
const TEXT_BYTES = 4096;

/**
 * @typedef {object} Options
 * @property {string | URL} [url] the site's root; a page's own origin if left out
 * @property {string | null} [user] who is logged in; learned from the server if left out, but then nothing can be sent before
 * @property {import("./store.js").Store} [store] for unsent messages: IndexedDB, or memory where there is none
 * @property {typeof globalThis.fetch} [fetch] outside of browsers: one that sends the session cookie
 * @property {(url: string, protocol: string) => WebSocket} [open] outside of browsers: one that sends the session cookie
 * @property {Pick<LockManager, "request">} [locks]
 * @property {() => number} [now] milliseconds since the Unix epoch
 * @property {() => number} [random] from 0 up to, not including, 1
 */

export class Client {
  #machine;
  #outbox;
  #url;
  #fetch;
  #open;
  #clock;
  /** @type {Map<number, WebSocket>} */
  #sockets = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Events wait while effects are carried out, so that a listener may call back. @type {Event[]} */
  #events = [];
  #busy = false;
  /** @type {Map<string, Set<(told: any) => void>>} */
  #listeners = new Map();

  /** @param {Options} [options] */
  constructor({
    url = globalThis.location.origin,
    user = null,
    store = "indexedDB" in globalThis ? new IndexedDbStore() : new MemoryStore(),
    fetch = (input, init) => globalThis.fetch(input, init),
    open = (address, protocol) => new WebSocket(address, protocol),
    locks = globalThis.navigator?.locks,
    now = Date.now,
    random = Math.random,
  } = {}) {
    this.#machine = machine({ user, random });
    this.#outbox = outbox(store, locks, newId());
    this.#url = new URL(url);
    this.#fetch = fetch;
    this.#open = open;
    this.#clock = now;
  }

  /** @returns {string | null} */
  get user() {
    return this.#machine.user;
  }

  /**
   * @template {Told} K
   * @param {K} name an effect of the state machine
   * @param {(told: Extract<Effect, {do: K}>) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Be connected from now on; while waiting for the next attempt: try now. */
  connect() {
    this.#feed({ type: "connect" });
  }

  /** Be disconnected from now on. What is unsent stays in the store. */
  disconnect() {
    this.#feed({ type: "disconnect" });
  }

  /** Whoever knows the surroundings says so: network back or gone, page looked at again. @param {"online" | "offline" | "visible"} type */
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

  /**
   * Sends now or as soon as it can be sent; `entry` tells how it goes.
   * @param {string} room one that was joined
   * @param {string} text
   * @returns {string} the message's id
   */
  send(room, text) {
    const id = newId();
    this.#feed({ type: "send", room, id, text: normalised(text) });
    return id;
  }

  /** Sends a `failed` or `unsure` entry again. @param {string} room @param {string} id */
  retry(room, id) {
    this.#feed({ type: "retry", room, id });
  }

  /** Gives an entry up. @param {string} room @param {string} id */
  discard(room, id) {
    this.#feed({ type: "discard", room, id });
  }

  /** Asks for older messages; `history` or `history_failed` answers. @param {string} room @param {{before?: string, limit?: number}} [page] */
  history(room, { before, limit } = {}) {
    this.#feed({ type: "history", room, limit, before });
  }

  /** Call it at every key stroke; the others hear of it every three seconds. @param {string} room */
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
    // A timer that fired has waited, whatever the clock (which may have been set back) says.
    this.#timer = setTimeout(() => this.#feed({ type: "tick" }, Math.max(this.#clock(), delay < LONGEST_TIMER ? wake : 0)), delay);
  }

  /** @param {Effect} effect */
  #carryOut(effect) {
    switch (effect.do) {
      case "probe": void this.#probe(effect.socket); return;
      case "open": return this.#connectSocket(effect.socket);
      case "close": return this.#sockets.get(effect.socket)?.close(1000);
      case "transmit": return this.#transmit(effect);
      case "load": return this.#claim(effect.user, effect.room);
      case "entry": this.#outbox.save(effect.entry); break;
      case "joined": if (this.user !== null) this.#claim(this.user, effect.room); break; // others may have gone meanwhile
    }
    for (const listener of this.#listeners.get(effect.do) ?? []) {
      try {
        listener(effect);
      } catch (error) {
        console.error(error); // the listener's fault must not become the connection's
      }
    }
  }

  /** @param {string} user @param {string} room */
  #claim(user, room) {
    void this.#outbox.claim(user, room, (entries) => this.#feed({ type: "outbox", room, entries }));
  }

  /** @param {number} socket */
  async #probe(socket) {
    try {
      const response = await this.#fetch(new URL("session", this.#url), {
        headers: { accept: "application/json" },
        cache: "no-store",
        signal: AbortSignal.timeout(PROBE_TIMEOUT),
      });
      const after = Number(response.headers.get("retry-after")) || 0;
      const body = response.ok ? await response.json() : {};
      this.#feed({
        type: "probed",
        socket,
        status: response.status,
        user: body.user,
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
      this.#feed({ type: "closed", socket: number, code });
    };
    try {
      const socket = this.#open(address.href, PROTOCOL);
      this.#sockets.set(number, socket);
      socket.onmessage = ({ data }) => {
        const frame = parsed(data);
        if (frame) this.#feed({ type: "frame", socket: number, frame });
      };
      socket.onclose = ({ code }) => closed(code);
      socket.onerror = () => {}; // `close` follows
    } catch {
      closed(1006);
    }
  }

  /** @param {Extract<Effect, {do: "transmit"}>} effect */
  #transmit({ socket, frame }) {
    const text = JSON.stringify(frame);
    const put = () => {
      const to = this.#sockets.get(socket);
      if (to?.readyState === 1) to.send(text);
    };
    // A message is stored before it is sent: after a crash it must be known that it may have gone out.
    if (frame.type === "send") void this.#outbox.written.then(put);
    else put();
  }
}

/**
 * Why the server would refuse this text; null if it would not.
 * @param {string} text
 * @returns {"bad_text" | "too_long" | null}
 */
export function refusal(text) {
  const bytes = new TextEncoder().encode(normalised(text)).length;
  if (bytes > TEXT_BYTES) return "too_long";
  return text.trim() === "" || /[^\P{Cc}\n\t\r]/u.test(text) ? "bad_text" : null;
}

/** Line ends as the protocol has them, and no half characters. @param {string} text */
function normalised(text) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text.replace(/\r\n?/g, "\n")));
}

/** 128 random bits. `crypto.randomUUID` is missing on plain http. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {unknown} data @returns {import("./machine.js").Frame | null} */
function parsed(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame?.type === "string" ? frame : null;
  } catch {
    return null;
  }
}
