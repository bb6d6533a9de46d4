/**
 * The decision core of a Trunkline client: events in, effects out.
 *
 * The machine opens no socket, sets no timer, reads no clock and has no generator of its own. Its driver (`trunkline.js` in a page or in Node, a
 * simulated world in the tests) passes the time with every event, carries out the effects in order, and sends `{"type":"tick"}` at `wake`. Every
 * rule of reconnecting, resuming and retrying can therefore be tested in microseconds.
 *
 * The rooms are in `subscriptions.js`, the outbox is in `entries.js`, the types are in `effects.d.ts`. `vectors/README.md` names every event and effect; the vectors beside it pin what they do.
 */

import { subscriptions } from "./subscriptions.js";

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
/** Part of a token's time after which a newer one is asked for, and the shortest time in ms from one token to the next. */
const TOKEN_USED = 0.8;
const TOKEN_LEAST = 1_000;

/** @typedef {import("./effects.js").Content} Content */
/** @typedef {import("./effects.js").Entry} Entry */
/** @typedef {import("./effects.js").Message} Message */
/** @typedef {import("./effects.js").Frame} Frame */
/** @typedef {import("./effects.js").Event} Event */
/** @typedef {import("./effects.js").StateEffect} StateEffect */
/** @typedef {import("./effects.js").Effect} Effect */

/**
 * @param {{user?: string | null, login?: string | null, tokens?: boolean, random?: () => number}} [options] `user`: the user of this machine; learned
 *   from the server if left out, and never changed after that. `login`: the id of the user's login; another login of the same name ends the machine.
 *   `tokens`: the driver has a source of tokens, so an identity that has ended can begin again. `random`: returns numbers from 0 up to, not including, 1
 */
export function machine({ user: me = null, login = null, tokens = false, random = Math.random } = {}) {
  let now = 0;
  /** @type {Effect[]} */
  let out = [];
  let offline = false;
  let sockets = 0;
  let failures = 0;
  /**
   * The attempt to connect that is under way. `refreshAt`: when its token is to be replaced.
   * @type {{socket: number, open: boolean, deadline: number, refreshAt: number | null} | null}
   */
  let trial = null;
  /**
   * The socket that said `welcome`. `lastFrame`: time of the last frame. `doubted`: since when the browser has said that there is no network, null if it
   * has not. `checkEnd`: when the answer to a check is due. `refusedTokens`: how many in a row.
   * @type {{socket: number, name: string | undefined, instance: string, since: number, lastFrame: number, silence: number, handoverAt: number | null,
   *   doubted: number | null, checkEnd: number | null, refreshAt: number | null, refusedTokens: number} | null}
   */
  let active = null;
  /** @type {{at: number, cause: string, drain: boolean} | null} */
  let retry = null;
  const rooms = subscriptions({ now: () => now, user: () => me, isConnected: () => active !== null, jitter, emit, transmit });
  const { outbox } = rooms;

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
    tick, probed, frame: received, closed, token: refresh, join: rooms.add, leave: rooms.remove, outbox: outbox.loaded, send: outbox.send, retry: outbox.again,
    history: rooms.history, typing: rooms.typing, signal: rooms.signal, seen: rooms.seen,
  };

  function attempt() {
    retry = null;
    const socket = ++sockets;
    trial = { socket, open: false, deadline: now + ATTEMPT_TIMEOUT, refreshAt: null };
    if (!active || active.doubted !== null) emit({ do: "state", state: "connecting" });
    emit({ do: "probe", socket });
  }

  /** @param {Extract<Event, {type: "probed"}>} event */
  function probed({ socket, status, user, login: found, expires_in, retry_after_ms = 0 }) {
    if (trial?.socket !== socket) return;
    if (status === 401) return tokens ? failed("bad_token") : end("not_logged_in");
    if (status === 200 && user !== undefined) {
      if (!identify(user, found)) return;
      trial.open = true;
      if (tokens && expires_in !== undefined) trial.refreshAt = refreshTime(expires_in);
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
    const refreshAt = trial?.refreshAt ?? null;
    trial = null;
    active = {
      socket,
      name: frame.name,
      instance: frame.instance,
      since: now,
      lastFrame: now,
      silence: Math.round((frame.ping_interval_ms || PING_INTERVAL) * SILENCE),
      handoverAt: null,
      doubted: null,
      checkEnd: null,
      refreshAt,
      refusedTokens: 0,
    };
    if (old) emit({ do: "close", socket: old.socket });
    if (!identify(frame.user, frame.login)) return;
    emitConnected(active);
    rooms.joinAll();
  }

  /** @param {{name: string | undefined, instance: string}} active */
  function emitConnected({ name, instance }) {
    emit({ do: "state", state: "connected", user: me ?? "", name, instance });
  }

  /**
   * Compares the user and login that the server names with those of the machine. If they differ, the machine ends and this returns false: an outbox is
   * never sent under another name, nor by another person under the same name.
   * @param {string} user @param {string} [found] the login, where the server names it
   */
  function identify(user, found) {
    if (me === null) {
      me = user;
      rooms.loadAll(user);
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
    const ended = code === 4401 && !tokens; // a newer token may bring the identity back
    if (ended) end("session_ended");
    if (code === 4409) stop({ do: "state", state: "down", cause: "too_many_sockets" });
    return ended || code === 4409;
  }

  /** The active socket is gone. @param {number} code @param {string} [cause] */
  function lost(code, cause = "closed") {
    if (!active) return;
    const { handoverAt, since } = active;
    active = null;
    rooms.forgetAll();
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
    if (!rooms.isAnyFollowed()) return attempt();
    if (socket.doubted !== null) emit({ do: "state", state: "connecting" });
    socket.checkEnd = now + CHECK_TIMEOUT;
    rooms.joinAgain();
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
    rooms.forgetAll();
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
    if (active.refreshAt !== null && now >= active.refreshAt) askForToken(active);
    rooms.tick();
  }

  // ---------------------------------------------------------------- tokens

  /** When to replace a token that ends in `expires_in` seconds. @param {number} expires_in */
  function refreshTime(expires_in) {
    return now + Math.max(TOKEN_LEAST, Math.floor(expires_in * 1000 * TOKEN_USED));
  }

  /** @param {NonNullable<typeof active>} active */
  function askForToken(active) {
    active.refreshAt = null;
    emit({ do: "token", socket: active.socket });
  }

  /** The answer to `token`; null: the source has none now. @param {{socket: number, token: string | null}} event */
  function refresh({ socket, token }) {
    if (active?.socket !== socket) return;
    if (token === null) active.refreshAt = now + jitter(active.refusedTokens++);
    else transmit({ type: "refresh", token });
  }

  /** A token was refused: the next one is asked for at once, the others with back-off. The identity stays as it is. */
  function tokenRefused() {
    if (!active || !tokens) return;
    active.refusedTokens += 1;
    if (active.refusedTokens === 1) askForToken(active);
    else active.refreshAt = now + jitter(active.refusedTokens - 2);
  }

  /** @param {NonNullable<typeof active>} active @param {Frame} frame */
  function refreshed(active, { expires_in }) {
    active.refusedTokens = 0;
    active.refreshAt = refreshTime(expires_in);
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
      case "refreshed": return refreshed(active, frame);
      default: return rooms.received(frame);
    }
  }

  /** @param {Frame} frame */
  function transmit(frame) {
    if (active) emit({ do: "transmit", socket: active.socket, frame });
  }

  /** @param {Frame} frame */
  function refused(frame) {
    const { code, room, id, detail } = frame;
    if (code === "bad_token") return tokenRefused();
    if (id !== undefined) {
      if (code === "unavailable" || code === "rate_limited") return rooms.postponed(frame);
      return outbox.answered(room, id, { state: "failed", code });
    }
    if (!rooms.refused(frame)) emit({ do: "refused", code, room, detail });
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
        times.push(active.lastFrame + active.silence, active.handoverAt, active.checkEnd, active.refreshAt, ...rooms.wakes());
      }
      const due = times.filter((time) => typeof time === "number");
      return due.length ? Math.min(...due) : null;
    },
  };
}
