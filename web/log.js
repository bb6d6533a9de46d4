/** The conversation on the page: delivered messages in order, and below them the reader's own that are not delivered yet. */

import { actionIn, colourOf, continues, pieces, sameDay } from "./render.js";

/** @typedef {import("./machine.js").Message} Message */
/** @typedef {import("./machine.js").Entry} Entry */
/** @typedef {import("./render.js").Said} Said */

/** Older rows leave the page (not the server) when there are more than this; scrolling up brings them back. */
const ROWS_MOST = 1_200;
const ROWS_KEPT = 800;
/** Pixels from the upper end at which older messages are fetched, and from the lower one that still count as the end. */
const NEAR_START = 400;
const NEAR_END = 40;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} className @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export class Log {
  #scroller;
  #messages;
  #unsent;
  #latest;
  #user;
  #say;
  #hooks;
  /** First child of the list: "loading", or "the beginning". */
  #top = element("li", "note quiet");
  #newLine;
  /** What the page holds, oldest first. @type {{message: Message, nodes: Element[]}[]} */
  #rows = [];
  /** @type {Said | null} */
  #last = null;
  /** Something else stands below the last message, so the next one names its author again. */
  #parted = false;
  #more = true;
  #loading = false;
  #unread = 0;
  /** Messages come that were missed while the connection was away: nobody has been looking. */
  #behind = false;
  /** Whether the reader is at the end, and is to be kept there. */
  #following = true;
  #height = 0;

  /**
   * @param {{scroller: HTMLElement, messages: HTMLElement, unsent: HTMLElement, latest: HTMLElement}} parts
   * @param {{user: string, room: string, say: ReturnType<typeof import("./render.js").speaker>,
   *   older: (before: string) => void, retry: (id: string) => void, discard: (id: string) => void, unread: (count: number) => void}} hooks
   */
  constructor({ scroller, messages, unsent, latest }, hooks) {
    this.#scroller = scroller;
    this.#messages = messages;
    this.#unsent = unsent;
    this.#latest = latest;
    this.#user = hooks.user;
    this.#say = hooks.say;
    this.#hooks = hooks;
    this.#newLine = element("li", "divider new", element("span", "", this.#say("messages.new")));
    messages.append(this.#top);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    latest.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => {
      this.#height = scroller.clientHeight;
      if (this.#following) this.toEnd();
    }).observe(scroller);
    for (const type of ["focus", "visibilitychange"]) addEventListener(type, () => this.#seen(), true);
  }

  /** @param {Message} message @param {{own: boolean, fresh: boolean}} how `fresh`: not of the first screenful */
  add(message, { own, fresh }) {
    if (own) this.#unsent.querySelector(`[data-id="${message.id}"]`)?.remove();
    const looking = document.hasFocus() && this.#following && !this.#behind;
    if (fresh && !own && !looking) {
      if (this.#unread === 0) {
        this.#messages.append(this.#newLine);
        this.#parted = true;
      }
      this.#unread += 1;
    }
    const nodes = this.#row(message, this.#last, this.#parted);
    this.#rows.push({ message, nodes });
    this.#messages.append(...nodes);
    this.#last = message;
    this.#parted = false;
    this.#groupUnsent();
    if (own && fresh) this.toEnd();
    this.#keepPlace();
  }

  /** The connection is back, and the room is being followed up to its head. */
  behind() {
    this.#behind = true;
  }

  /** The room was followed up to its head. */
  caughtUp() {
    this.#behind = false;
    for (const row of this.#unsent.querySelectorAll(".sent")) row.remove(); // their messages were shown, or are older than what is held
    if (this.#rows.length === 0) this.#reachedStart();
    this.#loadOlder();
    this.#seen();
  }

  /** Continuity broke: what is held of the room is dropped. */
  gap() {
    this.#rows = [];
    this.#last = null;
    this.#more = true;
    this.#loading = false;
    this.#unread = 0;
    this.#top.textContent = "";
    for (const row of this.#unsent.querySelectorAll(".sent")) row.remove();
    this.#messages.replaceChildren(this.#top, element("li", "divider gap", element("span", "", this.#say("messages.gap"))));
    this.#following = true;
    this.#tellUnread();
  }

  /** A page of older messages. @param {Message[]} messages @param {boolean} more */
  prepend(messages, more) {
    this.#loading = false;
    this.#more = more;
    const { scrollTop, scrollHeight } = this.#scroller;
    this.#quietly(() => {
      if (more) this.#top.textContent = "";
      else this.#reachedStart();
      /** @type {Message | null} */
      let last = null;
      const rows = [];
      for (const message of messages) {
        rows.push({ message, nodes: this.#row(message, last) });
        last = message;
      }
      this.#top.after(...rows.flatMap((row) => row.nodes));
      this.#rows.unshift(...rows);
      this.#redraw(rows.length, last); // it has somebody above it now
    });
    this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
    if (messages.length) this.#loadOlder();
  }

  /** The older messages did not come; scrolling asks again. */
  prependFailed() {
    this.#loading = false;
    this.#top.textContent = "";
  }

  /** A quiet line between messages. @param {string} text */
  note(text) {
    this.#messages.append(element("li", "note quiet", text));
    this.#parted = true;
    this.#groupUnsent();
    this.#keepPlace();
  }

  /** An own message on its way. @param {Entry} entry */
  entry(entry) {
    const old = this.#unsent.querySelector(`[data-id="${entry.id}"]`);
    if (entry.state === "discarded" || (entry.state === "sent" && !old)) return old?.remove();
    const row = this.#unsentRow(entry);
    if (old) old.replaceWith(row);
    else {
      const later = [...this.#unsent.children].find((other) => Number(/** @type {HTMLElement} */ (other).dataset.at) > entry.at);
      this.#unsent.insertBefore(row, later ?? null);
      if (entry.tried === null) this.toEnd();
    }
    this.#groupUnsent();
    this.#keepPlace();
  }

  toEnd() {
    this.#following = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#seen();
  }

  // ---------------------------------------------------------------- rows

  /** @param {Message} message @param {Said | null} last @param {boolean} [parted] @returns {Element[]} */
  #row(message, last, parted = false) {
    const row = this.#message(message, !parted && continues(last, message));
    row.dataset.pos = message.pos;
    if (last && sameDay(last.at, message.at)) return [row];
    return [element("li", "divider day", element("span", "", day.format(message.at))), row];
  }

  /** @param {Said} said @param {boolean} continued */
  #message(said, continued) {
    const { user, text, at } = said;
    const colour = `c${colourOf(user)}`;
    const action = actionIn(text);
    const author = element("span", `author ${colour}`, user);
    const row = element("li", "message");
    row.classList.toggle("own", user === this.#user);
    if (action !== null) {
      row.classList.add("action", "first");
      row.append(element("p", "text", author, " ", ...this.#linked(action), " ", this.#time(at)));
    } else {
      row.classList.toggle("first", !continued);
      if (continued) row.append(element("span", "unseen", `${user}: `));
      else row.append(this.#disc(user, colour), element("p", "head", author, " ", this.#time(at)));
      row.append(element("p", "text", ...this.#linked(text)));
      if (continued) row.title = moment.format(at);
    }
    return row;
  }

  /** @param {string} user @param {string} colour */
  #disc(user, colour) {
    const disc = element("span", `disc ${colour}`, [...user][0]?.toUpperCase() ?? "");
    disc.ariaHidden = "true";
    return disc;
  }

  /** @param {number} at */
  #time(at) {
    const time = element("time", "quiet", clock.format(at));
    time.dateTime = new Date(at).toISOString();
    time.title = moment.format(at);
    return time;
  }

  /** @param {string} text */
  #linked(text) {
    return pieces(text).map(({ text: piece, href }) => {
      if (href === undefined) return piece;
      const link = element("a", "", piece);
      link.href = href;
      link.rel = "noopener noreferrer nofollow";
      link.target = "_blank";
      return link;
    });
  }

  /** @param {Entry} entry */
  #unsentRow(entry) {
    const { id, text, at, state, code, user } = entry;
    const row = this.#message({ user, text, at }, false);
    row.classList.add(state);
    row.dataset.id = id;
    row.dataset.at = String(at);
    const fate = element("p", "fate quiet");
    row.append(fate);
    if (state === "sent") {
      fate.append(this.#say("message.sent"));
      fate.title = entry.pos ?? "";
    } else if (state === "pending") {
      fate.append(this.#say(code === undefined ? "message.pending" : "message.delayed"));
    } else {
      fate.append(
        state === "unsure" ? this.#say("message.unsure") : this.#say("message.failed", { reason: reason(code ?? "", this.#say) }),
        " ",
        button(this.#say("message.retry"), () => this.#hooks.retry(id)),
        " ",
        button(this.#say("message.discard"), () => this.#hooks.discard(id)),
      );
    }
    return row;
  }

  /** The first of the unsent may go under the last message, the others under the first. */
  #groupUnsent() {
    [...this.#unsent.children].forEach((row, index) => {
      const at = Number(/** @type {HTMLElement} */ (row).dataset.at);
      const continued = index > 0 || (!this.#parted && continues(this.#last, { user: this.#user, text: "", at }));
      row.classList.toggle("first", !continued);
    });
  }

  /** Draws one row again, for what stands above it has changed. @param {number} index @param {Message | null} last */
  #redraw(index, last) {
    const row = this.#rows[index];
    if (!row) return;
    const nodes = this.#row(row.message, last);
    row.nodes.at(-1)?.after(...nodes);
    for (const node of row.nodes) node.remove();
    row.nodes = nodes;
  }

  // ---------------------------------------------------------------- place

  #keepPlace() {
    if (!this.#following) return this.#tellUnread();
    if (this.#rows.length > ROWS_MOST) this.#trim();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#seen();
  }

  #trim() {
    this.#rows.splice(0, this.#rows.length - ROWS_KEPT);
    const first = this.#rows[0]?.nodes[0];
    while (this.#top.nextSibling && this.#top.nextSibling !== first) this.#top.nextSibling.remove();
    this.#redraw(0, null);
    this.#more = true;
    this.#top.textContent = "";
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    if (clientHeight !== this.#height) return; // it was not the reader who moved
    this.#following = scrollHeight - scrollTop - clientHeight <= NEAR_END;
    this.#loadOlder();
    this.#seen();
  }

  #loadOlder() {
    const first = this.#rows[0];
    if (!first || !this.#more || this.#loading || this.#scroller.scrollTop > NEAR_START) return;
    this.#loading = true;
    this.#top.textContent = this.#say("messages.loading");
    this.#hooks.older(first.message.pos);
  }

  #reachedStart() {
    this.#more = false;
    this.#top.textContent = this.#say("messages.start", { room: this.#hooks.room });
  }

  /** The reader may have seen what was unread. */
  #seen() {
    if (this.#following && !this.#behind && document.hasFocus()) this.#unread = 0;
    this.#tellUnread();
  }

  #tellUnread() {
    this.#latest.hidden = this.#following;
    this.#latest.textContent = this.#unread ? this.#say("messages.unread", { count: this.#unread }) : this.#say("messages.latest");
    this.#hooks.unread(this.#unread);
  }

  /** Without a screen reader telling it: history is not news. @param {() => void} change */
  #quietly(change) {
    this.#scroller.ariaLive = "off";
    change();
    setTimeout(() => { this.#scroller.ariaLive = "polite"; }, 500);
  }
}

/** @param {string} text @param {() => void} action */
export function button(text, action) {
  const made = element("button", "small", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

/** Why something was refused. @param {string} code @param {ReturnType<typeof import("./render.js").speaker>} say */
export function reason(code, say) {
  const known = say(`error.${code}`);
  return known === `error.${code}` ? say("error.other", { code }) : known;
}
