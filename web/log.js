/** The conversation of one room: delivered messages in order, and below them the reader's own that are not delivered yet. */

import { button, coloured, element, find, link } from "./dom.js";
import { actionIn, continues, mentions, pieces, reason, sameDay } from "./render.js";

/** @typedef {import("./machine.js").Message} Message */
/** @typedef {import("./machine.js").Entry} Entry */
/** @typedef {import("./render.js").Said} Said */
/** @typedef {{message: Message, nodes: Element[]}} Row */
/**
 * @typedef {object} Surroundings
 * @property {string} user
 * @property {string} room
 * @property {string} read the position of the last message that was seen before; empty: none ever was
 * @property {ReturnType<typeof import("./render.js").speaker>} say
 * @property {import("./trunkline.js").Client} client
 * @property {(position: string) => void} seen everything up to there
 * @property {(unread: number, mentioned: boolean) => void} counted may have changed
 */

/** Older rows leave the page (not the server) when there are more than this; scrolling up brings them back. */
const ROWS_MOST = 1_200;
const ROWS_KEPT = 800;
/** While somebody reads further up, there may be so many times more. */
const PATIENCE = 4;
/** Lines about who came and went. */
const NOTES_MOST = 50;
/** Pixels from the upper end at which older messages are fetched, and from the lower one that still count as the end. */
const NEAR_START = 400;
const NEAR_END = 40;

/** All rooms share these; one at a time is shown there. */
const scroller = find("log");
const latest = find("latest");
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });

/** @param {Surroundings} surroundings */
export function conversation({ user: me, room, read, say, client, seen: sawUpTo, counted }) {
  const messages = element("ol", "");
  const unsent = element("ol", "");
  messages.id = "messages";
  unsent.id = "unsent";
  /** First child of the list: "loading", or "the beginning". */
  const top = element("li", "note quiet");
  const newLine = divider("new", say("messages.new"));
  const notes = messages.getElementsByClassName("note");
  /** What the page holds, oldest first. @type {Row[]} */
  let rows = [];
  /** @type {Message | null} */
  let last = null;
  /** Something else stands below the last message, so the next one names its author again. */
  let parted = false;
  let more = true;
  let loading = false;
  let unread = 0;
  let mentioned = false;
  /** The room is not followed up to its head: nobody has been looking. */
  let behind = true;
  /** What comes is new. In the first screenful, only what stands below `read` is. */
  let counting = false;
  let shown = false;
  /** Whether the reader is at the end, and is to be kept there. */
  let following = true;
  /** Where else the reader was when the room was last shown: pixels above the end. */
  let place = 0;
  let height = 0;
  messages.append(top);

  // ---------------------------------------------------------------- what happens

  /** @param {{gap: boolean, resumed: boolean}} how */
  function joined({ gap, resumed }) {
    behind = true;
    counting &&= resumed;
    if (!gap) return;
    // Continuity broke: what is held of the room is dropped.
    rows = [];
    last = null;
    more = following = true;
    loading = false;
    unread = 0;
    top.textContent = "";
    dropSent();
    messages.replaceChildren(top, divider("gap", say("messages.gap")));
  }

  /** @param {Message} message @param {boolean} own @returns {boolean} whether it is news that names the reader */
  function add(message, own) {
    const named = counting && !own && mentions(message.text, me);
    if (own) unsent.querySelector(`[data-id="${message.id}"]`)?.remove();
    if (counting && !own && !looking()) {
      if (!unread) {
        messages.append(newLine);
        parted = true;
      }
      unread += 1;
      mentioned ||= named;
    }
    const nodes = drawn(message, last, parted);
    rows.push({ message, nodes });
    messages.append(...nodes);
    last = message;
    parted = false;
    groupUnsent();
    if (message.pos === read) unread = 0; // another tab was faster
    if (own && counting) following = true;
    keepPlace();
    return named;
  }

  /** The room was followed up to its head. */
  function caughtUp() {
    behind = false;
    dropSent();
    if (!rows.length) reachedStart();
    if (!counting && read) unreadAfter(read);
    counting = true;
    if (shown && following) arrive();
    else tell();
    loadOlder();
  }

  /** What was seen in another tab was seen. @param {string} position */
  function readUpTo(position) {
    if (position === read) return;
    read = position;
    if (rows.some(({ message }) => message.pos === read)) unreadAfter(read);
    tell();
  }

  /** A page of older messages. @param {{messages: Message[], more: boolean}} page */
  function history({ messages: older, more: others }) {
    loading = false;
    more = others;
    quietly(() => above(() => {
      if (more) top.textContent = "";
      else reachedStart();
      const added = older.map((message, index) => ({ message, nodes: drawn(message, older[index - 1] ?? null) }));
      top.after(...added.flatMap(({ nodes }) => nodes));
      rows.unshift(...added);
      redraw(added.length); // it has somebody above it now
    }));
    if (older.length) loadOlder();
  }

  /** The older messages did not come; scrolling asks again. */
  function historyFailed() {
    loading = false;
    top.textContent = "";
  }

  /** A quiet line between messages. @param {string} text */
  function note(text) {
    messages.append(element("li", "note quiet", text));
    if (notes.length > NOTES_MOST) notes[1]?.remove();
    parted = true;
    groupUnsent();
    keepPlace();
  }

  /** An own message on its way. @param {Entry} entry */
  function entry(entry) {
    const old = unsent.querySelector(`[data-id="${entry.id}"]`);
    if (entry.state === "discarded" || (entry.state === "sent" && !old)) return old?.remove();
    const row = unsentRow(entry);
    if (old) old.replaceWith(row);
    else {
      const later = [...unsent.children].find((other) => atOf(other) > entry.at);
      unsent.insertBefore(row, later ?? null);
      if (entry.tried === null) following = true;
    }
    groupUnsent();
    keepPlace();
  }

  // ---------------------------------------------------------------- rows

  /** @param {Message} message @param {Message | null} above @param {boolean} [apart] @returns {Element[]} */
  function drawn(message, above, apart = false) {
    const row = rowOf(message, !apart && continues(above, message));
    row.dataset.pos = message.pos;
    if (above && sameDay(above.at, message.at)) return [row];
    return [divider("", day.format(message.at)), row];
  }

  /** @param {Said} said @param {boolean} continued */
  function rowOf({ user, text, at }, continued) {
    const action = actionIn(text);
    const author = coloured("span", "author", user);
    const row = element("li", "message");
    row.classList.toggle("own", user === me);
    row.classList.toggle("first", !continued);
    row.classList.toggle("named", user !== me && mentions(text, me));
    if (action !== null) {
      row.classList.add("action");
      row.append(element("p", "text", author, " ", ...linked(action), " ", timeOf(at)));
      return row;
    }
    if (continued) {
      row.append(element("span", "unseen", `${user}: `));
      row.title = moment.format(at);
    } else {
      const disc = coloured("span", "disc", user, [...user][0]?.toUpperCase());
      disc.ariaHidden = "true";
      row.append(disc, element("p", "head", author, " ", timeOf(at)));
    }
    row.append(element("p", "text", ...linked(text)));
    return row;
  }

  /** @param {Entry} entry */
  function unsentRow({ user, id, text, at, state, code, pos = "" }) {
    const row = rowOf({ user, text, at }, false);
    row.classList.add(state);
    row.dataset.id = id;
    row.dataset.at = String(at);
    const fate = element("p", "fate quiet");
    row.append(fate);
    if (state === "sent") {
      fate.append(say("message.sent"));
      fate.title = pos;
    } else if (state === "pending") {
      fate.append(say(code === undefined ? "message.pending" : "message.delayed"));
    } else {
      fate.append(
        state === "unsure" ? say("message.unsure") : say("message.failed", { reason: reason(code ?? "", say) }),
        " ",
        button(say("message.retry"), () => client.retry(room, id)),
        " ",
        button(say("message.discard"), () => client.discard(room, id)),
      );
    }
    return row;
  }

  /** The first of the unsent may go under the last message, the others under the first. */
  function groupUnsent() {
    [...unsent.children].forEach((row, index) => {
      const continued = index > 0 || (!parted && continues(last, { user: me, text: "", at: atOf(row) }));
      row.classList.toggle("first", !continued);
    });
  }

  /** Draws one row again, for what stands above it has changed. @param {number} index @param {boolean} [apart] */
  function redraw(index, apart) {
    const row = rows[index];
    if (!row) return;
    const nodes = drawn(row.message, rows[index - 1]?.message ?? null, apart);
    row.nodes.at(-1)?.after(...nodes);
    for (const node of row.nodes) node.remove();
    row.nodes = nodes;
  }

  /** Their messages were shown, or are older than what is held. */
  function dropSent() {
    for (const row of unsent.querySelectorAll(".sent")) row.remove();
  }

  function trim() {
    rows.splice(0, rows.length - ROWS_KEPT);
    const first = rows[0]?.nodes[0];
    while (top.nextSibling && top.nextSibling !== first) top.nextSibling.remove();
    redraw(0);
    if (unread && !newLine.parentNode) top.after(newLine);
    more = true;
    top.textContent = "";
  }

  // ---------------------------------------------------------------- place

  function show() {
    shown = true;
    quietly(() => scroller.replaceChildren(messages, unsent));
    arrive();
  }

  function hide() {
    shown = false;
    place = scroller.scrollHeight - scroller.scrollTop;
  }

  /** To the first unread message, else to where the reader was. */
  function arrive() {
    scroller.scrollTop = scroller.scrollHeight - (following || unread ? 0 : place);
    if (unread) newLine.scrollIntoView({ block: "nearest" });
    height = scroller.clientHeight;
    scrolled();
  }

  function toEnd() {
    following = true;
    keepPlace();
  }

  function keepPlace() {
    if (rows.length > ROWS_MOST * (shown && !following ? PATIENCE : 1)) above(trim);
    if (shown && following) scroller.scrollTop = scroller.scrollHeight;
    seen();
  }

  /** What is above the reader changes, and what he sees does not move. @param {() => void} change */
  function above(change) {
    const { scrollTop, scrollHeight } = scroller;
    change();
    if (shown) scroller.scrollTop = scrollTop + scroller.scrollHeight - scrollHeight;
  }

  function scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = scroller;
    if (clientHeight !== height) return; // it was not the reader who moved
    following = scrollHeight - scrollTop - clientHeight <= NEAR_END;
    loadOlder();
    seen();
  }

  function resized() {
    height = scroller.clientHeight;
    if (following) toEnd();
  }

  function loadOlder() {
    if (!shown || !rows[0] || !more || loading || scroller.scrollTop > NEAR_START) return;
    loading = true;
    top.textContent = say("messages.loading");
    client.history(room, { before: rows[0].message.pos });
  }

  function reachedStart() {
    more = false;
    top.textContent = say("messages.start", { room });
  }

  // ---------------------------------------------------------------- unread

  function looking() {
    return shown && following && !behind && document.hasFocus();
  }

  /** The reader may have seen what was unread. */
  function seen() {
    if (looking()) {
      unread = 0;
      const end = last ? last.pos : "0-0"; // before every message
      if (end !== read) sawUpTo((read = end));
    }
    tell();
  }

  function tell() {
    mentioned &&= unread > 0;
    if (shown) {
      latest.hidden = following;
      latest.textContent = unread ? say("messages.unread", { count: unread }) : say("messages.latest");
    }
    counted(unread, mentioned);
  }

  /** @param {string} position one that is not held: all that is held came after it */
  function unreadAfter(position) {
    const from = rows.findIndex(({ message }) => message.pos === position) + 1;
    const others = rows.slice(from).filter(({ message }) => message.user !== me);
    unread = others.length;
    mentioned = others.some(({ message }) => mentions(message.text, me));
    if (!others[0]) return;
    redraw(rows.indexOf(others[0]), true);
    others[0].nodes[0]?.before(newLine);
  }

  /** Without a screen reader telling it: history is not news. @param {() => void} change */
  function quietly(change) {
    scroller.ariaLive = "off";
    change();
    setTimeout(() => { scroller.ariaLive = "polite"; }, 500);
  }

  /** @param {string} text */
  function linked(text) {
    return pieces(text).map(({ text: piece, href }) => {
      if (href === undefined) return piece;
      const made = link(href, piece);
      made.rel = "noopener noreferrer nofollow";
      made.target = "_blank";
      return made;
    });
  }

  return {
    joined, caught_up: caughtUp, history, history_failed: historyFailed, add, entry, note, readUpTo,
    show, hide, toEnd, scrolled, resized, seen,
    get unread() { return unread; },
  };
}

/** @param {string} kind @param {string} text */
function divider(kind, text) {
  return element("li", `divider ${kind}`, element("span", "", text));
}

/** @param {number} at */
function timeOf(at) {
  const time = element("time", "quiet", clock.format(at));
  time.dateTime = new Date(at).toISOString();
  time.title = moment.format(at);
  return time;
}

/** When the message in a row of the unsent was written. @param {Element} row */
function atOf(row) {
  return Number(/** @type {HTMLElement} */ (row).dataset.at);
}
