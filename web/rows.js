/** The rows of a conversation. */

import { button, coloured, element, link, locale, written } from "./dom.js";
import { actionIn, excerpt, listed } from "./render.js";
import { isFolded, pieces } from "./text.js";

/** @typedef {import("./render.js").Said} Said */
/**
 * @typedef {object} Surroundings
 * @property {(user: string) => string} nameOf
 * @property {(text: string) => boolean} isNamed whether a text mentions the reader
 * @property {(pos: string) => import("./effects.js").Shown | null} at
 * @property {(pos: string) => void} goTo shows a message
 * @property {(pos: string, key: string, on: boolean) => void} react
 */

const clock = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const exactTime = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "full" });

/**
 * @param {string} me the reader
 * @param {ReturnType<typeof import("./render.js").speaker>} say
 * @param {Surroundings} surroundings
 * @returns {(said: Said, key: string, continued: boolean) => HTMLElement} makes the row of a message; `key` names the message, and a `continued` one
 *   stands under the name and time of the message above
 */
export function rows(me, say, { nameOf, isNamed, at: messageAt, goTo, react }) {
  /** Long messages that are shown whole, by key. @type {Set<string>} */
  const unfolded = new Set();

  /** Shows the beginning of a long text, and a button for the rest. @param {Element} text @param {string} key */
  function foldButton(text, key) {
    const toggle = button("", () => {
      if (!unfolded.delete(key)) unfolded.add(key);
      show();
    });
    const show = () => {
      const open = unfolded.has(key);
      text.classList.toggle("folded", !open);
      toggle.ariaExpanded = String(open);
      toggle.textContent = open ? say("message.show_less") : say("message.show_all");
    };
    show();
    return toggle;
  }

  /** The line that names the answered message, and leads there. @param {string} ref */
  function quote(ref) {
    const answered = messageAt(ref);
    const { user = "", name = nameOf(user), text } = answered ?? {};
    const words = answered ? say("message.answers", { user: name, text: text === undefined ? say("message.deleted") : excerpt(text) }) : say("message.answers_unknown");
    const way = button(words, () => goTo(ref));
    way.className = "way";
    way.dir = "auto";
    way.tabIndex = -1;
    way.disabled = answered === null;
    return element("p", "quote", way);
  }

  /** What stands below the text: that it was edited, and the reactions. @param {Said} said @param {string} key the message's position */
  function under({ edited, reactions = [] }, key) {
    const line = element("p", "under quiet");
    if (edited !== undefined) {
      const mark = element("span", "", say("message.edited"));
      mark.title = exactTime.format(edited);
      line.append(mark);
    }
    for (const { key: reaction, users } of reactions) {
      const own = users.includes(me);
      const words = `${excerpt(reaction)} ${users.length}`;
      const chip = button(words, () => react(key, reaction, !own));
      chip.tabIndex = -1;
      chip.ariaPressed = String(own);
      chip.title = chip.ariaLabel = say("message.reaction", { reaction: words, names: listed(users.map(nameOf), say) });
      line.append(chip);
    }
    return line;
  }

  return (said, key, continued) => {
    const { user, name = nameOf(user), at } = said;
    const text = said.deleted ? say("message.deleted") : said.text ?? "";
    const action = said.deleted ? null : actionIn(text);
    const author = coloured("span", "author", user, name);
    if (name !== user) author.title = user;
    const row = element("li", "message");
    const body = written("p", "text");
    row.classList.toggle("own", user === me);
    row.classList.toggle("first", !continued);
    row.classList.toggle("named", user !== me && !said.deleted && isNamed(text));
    row.classList.toggle("deleted", said.deleted ?? false);
    row.classList.toggle("pending", said.waiting ?? false);
    if (action !== null) {
      row.classList.add("action");
      body.append(author, " ", ...linked(action), " ", timeOf(at));
    } else if (continued) {
      row.append(written("span", "unseen", `${name}: `));
      row.title = exactTime.format(at);
      body.append(...linked(text));
    } else {
      const disc = coloured("span", "disc", user, [...name][0]?.toUpperCase());
      disc.ariaHidden = "true";
      row.append(disc, element("p", "head", author, " ", timeOf(at)));
      body.append(...linked(text));
    }
    if (said.ref !== undefined) row.append(quote(said.ref));
    row.append(body);
    if (isFolded(text)) row.append(foldButton(body, key));
    if (said.edited !== undefined || said.reactions?.length) row.append(under(said, key));
    return row;
  };
}

/** @param {string} kind @param {string} text */
export function divider(kind, text) {
  return element("li", `divider ${kind}`, element("span", "", text));
}

/** The line above the first message of a day. @param {number} at */
export function dayLine(at) {
  return divider("", day.format(at));
}

/** @param {number} at */
function timeOf(at) {
  const time = element("time", "quiet", clock.format(at));
  time.dateTime = new Date(at).toISOString();
  time.title = exactTime.format(at);
  return time;
}

/** @param {string} text */
function linked(text) {
  return pieces(text).map(({ text: piece, href }) => {
    if (href === undefined) return piece;
    const made = link(href, piece);
    made.rel = "noopener noreferrer nofollow";
    made.target = "_blank";
    made.dir = "ltr"; // isolates it: direction controls before the link cannot reorder it
    return made;
  });
}
