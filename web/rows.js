/** The rows of a conversation. */

import { button, coloured, element, link, locale, written } from "./dom.js";
import { actionIn } from "./render.js";
import { isFolded, mentions, pieces } from "./text.js";

/** @typedef {import("./render.js").Said} Said */

const clock = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const exactTime = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "full" });

/**
 * @param {string} me the reader
 * @param {ReturnType<typeof import("./render.js").speaker>} say
 * @returns {(said: Said, key: string, continued: boolean) => HTMLElement} makes the row of a message; `key` names the message, and a `continued` one
 *   stands under the name and time of the message above
 */
export function rows(me, say) {
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

  return ({ user, text, at }, key, continued) => {
    const action = actionIn(text);
    const author = coloured("span", "author", user);
    const row = element("li", "message");
    const body = written("p", "text");
    row.classList.toggle("own", user === me);
    row.classList.toggle("first", !continued);
    row.classList.toggle("named", user !== me && mentions(text, me));
    if (action !== null) {
      row.classList.add("action");
      body.append(author, " ", ...linked(action), " ", timeOf(at));
    } else if (continued) {
      row.append(written("span", "unseen", `${user}: `));
      row.title = exactTime.format(at);
      body.append(...linked(text));
    } else {
      const disc = coloured("span", "disc", user, [...user][0]?.toUpperCase());
      disc.ariaHidden = "true";
      row.append(disc, element("p", "head", author, " ", timeOf(at)));
      body.append(...linked(text));
    }
    row.append(body);
    if (isFolded(text)) row.append(foldButton(body, key));
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
