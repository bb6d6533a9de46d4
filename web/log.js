/** The conversation of one room: delivered messages in order, and below them the reader's own messages that are not delivered yet. */

import { isChat, roomContent } from "./content.js";
import { element, find } from "./dom.js";
import { hasFocus } from "./facilities.js";
import { isAmendment } from "./fold.js";
import { isLater } from "./positions.js";
import { continues, sameDay } from "./render.js";
import { dayLine, divider, rows as rowMaker } from "./rows.js";
import { unsentList } from "./unsent.js";

/** @typedef {import("./effects.js").Message} Message */
/** @typedef {import("./effects.js").Entry} Entry */
/** `apart`: it stands below a line, so it names its author. @typedef {{message: import("./content.js").Amended, nodes: HTMLElement[], apart: boolean}} Row */
/** `named`: it mentions the reader. `missed`: it was sent while the page was not connected. @typedef {{named: boolean, missed: boolean}} Circumstances */
/**
 * @typedef {object} Surroundings
 * @property {string} user
 * @property {string} room
 * @property {string} read the position of the last message that was seen before; empty: none ever was
 * @property {ReturnType<typeof import("./render.js").speaker>} say
 * @property {import("./trunkline.js").Client} client
 * @property {(user: string) => string} nameOf
 * @property {(text: string) => boolean} isNamed whether a text mentions the reader
 * @property {(before: HTMLElement, after: HTMLElement) => void} redrawn a row is replaced: called before the old one goes
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
/** Maximum number of lines about arrivals and departures. */
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
export function conversation({ user: me, room, read, say, client, nameOf, isNamed, redrawn, seen: sawUpTo, counted, news }) {
  const messages = element("ol", "");
  messages.id = "messages";
  /** First child of the list: "loading", or "the beginning". */
  const top = element("li", "note quiet");
  const newLine = divider("new", say("messages.new"));
  const notes = messages.getElementsByClassName("note");
  /** The messages on the page, oldest first. @type {Row[]} */
  let rows = [];
  /** @type {Row["message"] | null} */
  let last = null;
  const content = roomContent(me);
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
  const rowOf = rowMaker(me, say, { nameOf, isNamed, at: content.get, goTo, react: (pos, key, on) => client.react(room, pos, key, on) });
  const unsent = unsentList({ user: me, room, say, client, rowOf });
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
    content.clear();
    more = following = true;
    loading = seeking = capped = false;
    unread = 0;
    top.textContent = "";
    dropSent();
    messages.replaceChildren(top, divider("gap", say("messages.gap")));
  }

  /** An entry of the log. @param {Message} entry @param {boolean} own */
  function add(entry, own) {
    const changed = content.add(entry);
    if (own) unsent.remove(entry.id);
    if (isChat(entry)) addRow(entry, own);
    changed.forEach(redrawAt);
    if (read && !isLater(entry.pos, read)) unread = 0; // it was read in another tab
    keepPlace();
  }

  /** A message below all others. @param {Message} entry @param {boolean} own */
  function addRow(entry, own) {
    const message = content.get(entry.pos);
    if (!message) return;
    const isNews = counting && !own && !message.deleted;
    const named = isNews && isNamed(message.text ?? "");
    if (isNews && !looking()) {
      if (!unread) {
        messages.append(newLine);
        parted = true;
      }
      unread += 1;
      mentioned ||= named;
    }
    const nodes = drawn(message, last, parted);
    rows.push({ message, nodes, apart: parted });
    messages.append(...nodes);
    last = message;
    parted = false;
    groupUnsent();
    if (own && counting) following = true;
    if (isNews) news(entry, { named, missed: behind });
  }

  /** The room was followed up to its head. */
  function caughtUp() {
    behind = false;
    dropSent();
    if (content.oldest === null) reachedStart();
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

  /** @param {string} position an entry that was seen in another tab, or on another device */
  function readUpTo(position) {
    if (position === "" || (read && !isLater(position, read))) return;
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
      const changed = older.flatMap((entry) => content.add(entry));
      const shown = older.flatMap(({ pos }) => content.get(pos) ?? []);
      const added = shown.map((message, index) => ({ message, nodes: drawn(message, shown[index - 1] ?? null), apart: false }));
      top.after(...added.flatMap(({ nodes }) => nodes));
      rows.unshift(...added);
      redraw(added.length); // it stands below another message now
      new Set(changed).forEach(redrawAt);
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

  /** An own entry that is not delivered yet. @param {Entry} entry */
  function entry(entry) {
    if (isAmendment(entry)) {
      content.amending(entry).forEach(redrawAt);
      // To repeat an amendment does no harm.
      if (entry.state === "unsure") return client.retry(room, entry.id);
      if (entry.state === "failed" && entry.text === undefined) return client.discard(room, entry.id);
      if (entry.state !== "failed") return unsent.remove(entry.id);
    } else if (!isChat(entry)) {
      return;
    }
    if (unsent.show(entry) && entry.tried === null) following = true;
    groupUnsent();
    keepPlace();
  }

  // ---------------------------------------------------------------- rows

  /** @param {string} pos */
  function indexOf(pos) {
    return rows.findIndex(({ message }) => message.pos === pos);
  }

  /** Draws a message again that looks different now. @param {string} pos */
  function redrawAt(pos) {
    const index = indexOf(pos);
    const row = rows[index];
    const message = content.get(pos);
    if (!row || !message) return;
    row.message = message;
    if (last?.pos === pos) last = message;
    redraw(index);
    redraw(index + 1);
  }

  /** Shows a message that has arrived, and gives it the focus. @param {string} pos */
  function goTo(pos) {
    const row = rows[indexOf(pos)]?.nodes.at(-1);
    row?.scrollIntoView({ block: "center" });
    row?.focus({ preventScroll: true });
  }

  /** @param {Row["message"]} message @param {Row["message"] | null} above @param {boolean} [apart] @returns {HTMLElement[]} */
  function drawn(message, above, apart = false) {
    const row = rowOf(message, message.pos, !apart && continues(above, message));
    row.dataset.pos = message.pos;
    row.tabIndex = -1;
    if (above && sameDay(above.at, message.at)) return [row];
    return [dayLine(message.at), row];
  }

  function groupUnsent() {
    unsent.group(parted ? null : last);
  }

  /** Draws one row again after the row above it has changed. @param {number} index @param {boolean} [apart] */
  function redraw(index, apart) {
    const row = rows[index];
    if (!row) return;
    row.apart = apart ?? row.apart;
    const nodes = drawn(row.message, rows[index - 1]?.message ?? null, row.apart);
    const [before, after] = [row.nodes.at(-1), nodes.at(-1)];
    before?.after(...nodes);
    if (before && after) redrawn(before, after);
    for (const node of row.nodes) node.remove();
    row.nodes = nodes;
  }

  /** Their messages were shown, or are older than the rows. */
  function dropSent() {
    unsent.dropSent();
    content.dropSent().forEach(redrawAt);
  }

  function trim() {
    rows.splice(0, rows.length - ROWS_KEPT);
    if (rows[0]) content.forgetBefore(rows[0].message.pos);
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
    scroller.replaceChildren(messages, unsent.list);
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
    if (!shown || content.oldest === null || !more || loading || scroller.scrollTop > NEAR_START) return;
    loading = true;
    top.textContent = say("messages.loading");
    client.history(room, { before: content.oldest });
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
      if (content.newest !== read) sawUpTo((read = content.newest));
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

  /** Whether everything after a position has arrived. @param {string} position */
  function isHeld(position) {
    return content.oldest !== null && !isLater(content.oldest, position);
  }

  /** Counts the messages after a position, and puts the line above the first of them. @param {string} position */
  function unreadAfter(position) {
    const others = rows.filter(({ message }) => message.user !== me && !message.deleted && isLater(message.pos, position));
    const index = others[0] ? rows.indexOf(others[0]) : -1;
    unread = others.length;
    mentioned = others.some(({ message }) => isNamed(message.text ?? ""));
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
      if (loading || content.oldest === null) return;
      loading = true;
      client.history(room, { before: content.oldest, limit: SEEK_PAGE });
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
    /** A message that is shown. @param {string} pos */
    at: (pos) => rows[indexOf(pos)]?.message ?? null,
    get unread() { return unread; },
  };
}
