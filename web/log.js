/** The conversation of one room: delivered messages in order, and below them the reader's own messages that are not delivered yet. */

import { button, element, find } from "./dom.js";
import { hasFocus } from "./facilities.js";
import { continues, reason, sameDay } from "./render.js";
import { dayLine, divider, rows as rowMaker } from "./rows.js";
import { mentions } from "./text.js";

/** @typedef {import("./machine.js").Message} Message */
/** @typedef {import("./machine.js").Entry} Entry */
/** @typedef {{message: Message, nodes: Element[]}} Row */
/** `named`: it mentions the reader. `missed`: it was sent while the page was not connected. @typedef {{named: boolean, missed: boolean}} Circumstances */
/**
 * @typedef {object} Surroundings
 * @property {string} user
 * @property {string} room
 * @property {string} read the position of the last message that was seen before; empty: none ever was
 * @property {ReturnType<typeof import("./render.js").speaker>} say
 * @property {import("./trunkline.js").Client} client
 * @property {(position: string) => void} seen everything up to there was seen
 * @property {(unread: number, mentioned: boolean, atLeast: boolean) => void} counted the number of unread messages may have changed; `atLeast`: older ones
 *   are being counted
 * @property {(message: Message, how: Circumstances) => void} news a message of another person that is not history
 */

/** Rows above the last 800 leave the page (not the server) when there are more than 1,200. Scrolling up brings them back. */
const ROWS_MOST = 1_200;
const ROWS_KEPT = 800;
/** Factor for both while the reader is further up. */
const ROWS_FACTOR_READING = 4;
/** Maximum number of lines about people who came and went. */
const NOTES_MOST = 50;
/** Distance in pixels from the upper end at which older messages are fetched, and from the lower end that still counts as the end. */
const NEAR_START = 400;
const NEAR_END = 40;
/** Maximum number of messages that are fetched to count the unread ones, the most that one page of history can hold, and the time in ms before a retry. */
const SEEK_MOST = 1_000;
const SEEK_PAGE = 200;
const SEEK_RETRY = 2_000;

/** All rooms share these elements; one room at a time is shown there. */
const scroller = find("log");
const latest = find("latest");

/** @param {Surroundings} surroundings */
export function conversation({ user: me, room, read, say, client, seen: sawUpTo, counted, news }) {
  const messages = element("ol", "");
  const unsent = element("ol", "");
  messages.id = "messages";
  unsent.id = "unsent";
  /** First child of the list: "loading", or "the beginning". */
  const top = element("li", "note quiet");
  const newLine = divider("new", say("messages.new"));
  const notes = messages.getElementsByClassName("note");
  /** The messages on the page, oldest first. @type {Row[]} */
  let rows = [];
  /** @type {Message | null} */
  let last = null;
  /** Another line stands below the last message, so the next message names its author again. */
  let parted = false;
  let more = true;
  let loading = false;
  let unread = 0;
  let mentioned = false;
  /** The room is not followed up to its head, so the reader cannot have seen its end. */
  let behind = true;
  /** Messages that come are new. In the first screenful, only those below `read` are. */
  let counting = false;
  /** Older pages are fetched until `read` is found, to count what is unread. */
  let seeking = false;
  /** There are more unread messages than were fetched. */
  let capped = false;
  let shown = false;
  /** The reader is at the end, and the page stays there. */
  let following = true;
  /** Where else the reader was when the room was last shown: pixels above the end. */
  let place = 0;
  let height = 0;
  const rowOf = rowMaker(me, say);
  messages.append(top);

  // ---------------------------------------------------------------- events

  /** @param {{gap: boolean, resumed: boolean}} how */
  function joined({ gap, resumed }) {
    behind = true;
    counting &&= resumed;
    if (!gap) return;
    // Continuity broke: the rows of the room are dropped.
    rows = [];
    last = null;
    more = following = true;
    loading = seeking = capped = false;
    unread = 0;
    top.textContent = "";
    dropSent();
    messages.replaceChildren(top, divider("gap", say("messages.gap")));
  }

  /** @param {Message} message @param {boolean} own */
  function add(message, own) {
    const isNews = counting && !own;
    const named = isNews && mentions(message.text, me);
    if (own) unsent.querySelector(`[data-id="${message.id}"]`)?.remove();
    if (isNews && !looking()) {
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
    if (message.pos === read) unread = 0; // it was read in another tab
    if (own && counting) following = true;
    keepPlace();
    if (isNews) news(message, { named, missed: behind });
  }

  /** The room was followed up to its head. */
  function caughtUp() {
    behind = false;
    dropSent();
    if (!rows.length) reachedStart();
    if (!counting && read) {
      unreadAfter(read);
      seeking = !isHeld(read);
    }
    counting = true;
    if (seeking) seek(0);
    if (shown && following) arrive();
    else report();
    loadOlder();
  }

  /** @param {string} position a message that was seen in another tab */
  function readUpTo(position) {
    if (position === read) return;
    read = position;
    if (isHeld(read)) unreadAfter(read);
    report();
  }

  /** A page of older messages. @param {{messages: Message[], more: boolean}} page */
  function history({ messages: older, more: others }) {
    loading = false;
    more = others;
    above(() => {
      if (more) top.textContent = "";
      else reachedStart();
      const added = older.map((message, index) => ({ message, nodes: drawn(message, older[index - 1] ?? null) }));
      top.after(...added.flatMap(({ nodes }) => nodes));
      rows.unshift(...added);
      redraw(added.length); // it stands below another message now
    });
    if (seeking) seek(older.length);
    if (older.length) loadOlder();
  }

  /** The older messages did not come. Scrolling asks again. */
  function historyFailed() {
    loading = false;
    top.textContent = "";
    if (seeking) setTimeout(() => seeking && !loading && !behind && seek(0), SEEK_RETRY);
  }

  /** A quiet line between messages. @param {string} text */
  function note(text) {
    messages.append(element("li", "note quiet", text));
    if (notes.length > NOTES_MOST) notes[1]?.remove();
    parted = true;
    groupUnsent();
    keepPlace();
  }

  /** An own message that is not delivered yet. @param {Entry} entry */
  function entry(entry) {
    const old = unsent.querySelector(`[data-id="${entry.id}"]`);
    if (entry.state === "discarded" || (entry.state === "sent" && !old)) return old?.remove();
    const row = unsentRow(entry);
    if (old && atOf(old) === entry.at) {
      old.replaceWith(row);
    } else {
      old?.remove();
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
    const row = rowOf(message, message.pos, !apart && continues(above, message));
    row.dataset.pos = message.pos;
    if (above && sameDay(above.at, message.at)) return [row];
    return [dayLine(message.at), row];
  }

  /** @param {Entry} entry */
  function unsentRow({ user, id, text, at, state, code, pos = "" }) {
    const row = rowOf({ user, text, at }, id, false);
    row.classList.add(state);
    row.dataset.id = id;
    row.dataset.at = String(at);
    const fate = element("p", "fate quiet");
    row.append(fate);
    if (state === "sent") {
      fate.append(say("message.sent"));
      fate.title = pos;
    } else if (state === "pending") {
      // "sending" only while there is a connection: the style sheet shows one of the two.
      if (code === undefined) fate.append(element("span", "if-connected", say("message.pending")));
      fate.append(element("span", code === undefined ? "if-disconnected" : "", say("message.delayed")));
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

  /** The first of the unsent messages may continue the last message, the others continue the first. */
  function groupUnsent() {
    [...unsent.children].forEach((row, index) => {
      const continued = index > 0 || (!parted && continues(last, { user: me, text: "", at: atOf(row) }));
      row.classList.toggle("first", !continued);
    });
  }

  /** Draws one row again after the row above it has changed. @param {number} index @param {boolean} [apart] */
  function redraw(index, apart) {
    const row = rows[index];
    if (!row) return;
    const nodes = drawn(row.message, rows[index - 1]?.message ?? null, apart);
    row.nodes.at(-1)?.after(...nodes);
    for (const node of row.nodes) node.remove();
    row.nodes = nodes;
  }

  /** Their messages were shown, or are older than the rows. */
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
    scroller.replaceChildren(messages, unsent);
    arrive();
  }

  function hide() {
    shown = false;
    place = scroller.scrollHeight - scroller.scrollTop;
  }

  /** Scrolls to the first unread message, else to where the reader was. */
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
    if (rows.length > ROWS_MOST * (shown && !following ? ROWS_FACTOR_READING : 1)) above(trim);
    if (shown && following) scroller.scrollTop = scroller.scrollHeight;
    seen();
  }

  /** Changes what is above the reader, and keeps in place what the reader sees. @param {() => void} change */
  function above(change) {
    const { scrollTop, scrollHeight } = scroller;
    change();
    if (shown) scroller.scrollTop = scrollTop + scroller.scrollHeight - scrollHeight;
  }

  function scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = scroller;
    if (clientHeight !== height) return; // the size changed; the reader did not scroll
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
    return shown && following && !behind && !seeking && hasFocus();
  }

  /** The reader may have seen what was unread. */
  function seen() {
    if (looking()) {
      unread = 0;
      capped = false;
      const end = last ? last.pos : "0-0"; // before every message
      if (end !== read) sawUpTo((read = end));
    }
    report();
  }

  function report() {
    mentioned &&= unread > 0;
    if (shown) {
      latest.hidden = following;
      latest.textContent = unread ? say("messages.unread", { count: unread }) : say("messages.latest");
    }
    counted(unread, mentioned, seeking || capped);
  }

  /** @param {string} position */
  function isHeld(position) {
    return rows.some(({ message }) => message.pos === position);
  }

  /** Counts the messages after a position, and puts the line above the first of them. @param {string} position if no row has it, all rows came after it */
  function unreadAfter(position) {
    const from = rows.findIndex(({ message }) => message.pos === position) + 1;
    const others = rows.slice(from).filter(({ message }) => message.user !== me);
    const index = others[0] ? rows.indexOf(others[0]) : -1;
    unread = others.length;
    mentioned = others.some(({ message }) => mentions(message.text, me));
    newLine.remove();
    if (index < 0) return;
    redraw(index, true);
    rows[index]?.nodes[0]?.before(newLine);
  }

  /** Fetches older messages until the last one that was read is found: only then the number of unread messages is true. @param {number} added */
  function seek(added) {
    if (added) above(() => unreadAfter(read));
    const done = isHeld(read) || !more || rows.length >= SEEK_MOST;
    if (!done) {
      if (loading || !rows[0]) return;
      loading = true;
      client.history(room, { before: rows[0].message.pos, limit: SEEK_PAGE });
    } else {
      seeking = false;
      capped = more && !isHeld(read);
      if (shown) arrive();
    }
    report();
  }

  return {
    joined, caught_up: caughtUp, history, history_failed: historyFailed, add, entry, note, readUpTo,
    show, hide, toEnd, scrolled, resized, seen,
    get unread() { return unread; },
  };
}

/** When the message in a row of the unsent messages was written. @param {Element} row */
function atOf(row) {
  return Number(/** @type {HTMLElement} */ (row).dataset.at);
}
