/**
 * What the reader can do with a message: react, answer, edit, delete. One set of buttons stands in the row under the pointer, or in the row with the focus.
 *
 * Tab leads from the conversation to one row, and from there to its buttons; arrow keys lead from row to row; Escape leads back to the field for messages.
 */

import { button, element, find } from "./dom.js";

/** Reactions that are offered. */
const KEYS = ["👍", "❤️", "😂"];

/** @typedef {import("./content.js").Amended} Amended */

/**
 * @param {object} page
 * @param {string} page.user the reader
 * @param {ReturnType<typeof import("./render.js").speaker>} page.say
 * @param {(pos: string) => Amended | null} page.at a message of the room that is shown
 * @param {(message: Amended) => void} page.answer begins an answer
 * @param {(message: Amended) => void} page.edit begins to edit
 * @param {(message: Amended) => void} page.remove deletes
 * @param {(message: Amended, key: string, on: boolean) => void} page.react
 * @returns {(before: HTMLElement, after: HTMLElement) => void} call it when a row is replaced: focus and buttons move to the new one
 */
export function messageActions({ user, say, at, answer, edit, remove, react }) {
  const log = find("log");
  const bar = element("div", "actions");
  bar.role = "group";
  bar.ariaLabel = say("message.actions");
  /** The row with the buttons. @type {HTMLElement | null} */
  let place = null;
  /** The row that Tab leads to. @type {HTMLElement | null} */
  let entry = null;

  /** @param {EventTarget | null} target @returns {HTMLElement | null} */
  const rowOf = (target) => (target instanceof Element ? target.closest("#messages [data-pos]") : null);

  /** @param {HTMLElement} row */
  function show(row) {
    place = row;
    showChoice();
    row.append(bar);
  }

  function hide() {
    if (place) setChips(place, -1);
    place = null;
    bar.remove();
  }

  /** @param {HTMLElement} row @param {number} tabIndex */
  function setChips(row, tabIndex) {
    for (const each of row.querySelectorAll("button")) if (!bar.contains(each)) each.tabIndex = tabIndex;
  }

  /** The buttons of the message as it is now; none if it is deleted. */
  function showChoice() {
    const message = at(place?.dataset.pos ?? "");
    bar.hidden = !message || message.deleted === true;
    if (!message || bar.hidden) return bar.replaceChildren();
    const reactions = KEYS.map((key) => {
      const on = message.reactions.some((each) => each.key === key && each.users.includes(user));
      const made = button(key, () => react(message, key, !on));
      made.ariaLabel = say("message.react", { key });
      made.ariaPressed = String(on);
      return made;
    });
    const own = message.user === user ? [button(say("message.edit"), () => edit(message)), button(say("message.delete"), () => askToDelete(message))] : [];
    bar.replaceChildren(...reactions, button(say("message.answer"), () => answer(message)), ...own);
  }

  /** @param {Amended} message */
  function askToDelete(message) {
    const keep = button(say("message.keep"), () => {
      showChoice();
      place?.focus();
    });
    const really = button(say("message.delete"), () => {
      place?.focus();
      remove(message);
    });
    const question = element("span", "", say("message.delete_confirm"));
    question.id = "delete-question";
    really.setAttribute("aria-describedby", question.id);
    keep.setAttribute("aria-describedby", question.id);
    bar.replaceChildren(question, " ", really, keep);
    keep.focus();
  }

  /** Whether the buttons are used by keyboard: then the pointer does not move them. */
  const isInUse = () => bar.querySelector(":focus-visible") !== null;

  log.addEventListener("pointerover", ({ target }) => {
    const row = rowOf(target);
    if (row && row !== place && !isInUse()) show(row);
  });
  log.addEventListener("pointerleave", () => {
    if (place && !place.contains(document.activeElement)) hide();
  });
  log.addEventListener("focusin", ({ target }) => {
    const row = rowOf(target);
    if (!row) {
      // The conversation itself: the next Tab leads to the row that had the focus last, or to the last row.
      const last = log.querySelector("#messages > [data-pos]:last-of-type");
      return enter(entry?.isConnected ? entry : last instanceof HTMLElement ? last : null);
    }
    enter(row);
    if (row !== place) show(row);
    setChips(row, 0);
  });
  log.addEventListener("focusout", ({ relatedTarget }) => {
    if (place && relatedTarget instanceof Node && !place.contains(relatedTarget)) hide();
  });
  log.addEventListener("keydown", (event) => {
    const row = rowOf(event.target);
    if (!row) return;
    if (event.key === "Escape") return event.target === row ? find("text").focus() : row.focus();
    if (event.target !== row) return;
    const rows = [...log.querySelectorAll("#messages [data-pos]")];
    const index = rows.findIndex((each) => each === row);
    const to = { ArrowUp: index - 1, ArrowDown: index + 1, Home: 0, End: rows.length - 1 }[event.key];
    const next = to === undefined ? undefined : rows[to];
    if (!(next instanceof HTMLElement)) return;
    event.preventDefault();
    next.focus();
  });

  /** @param {HTMLElement | null} row */
  function enter(row) {
    if (entry) entry.tabIndex = -1;
    entry = row;
    if (entry) entry.tabIndex = 0;
  }

  return (before, after) => {
    const focused = before.contains(document.activeElement) ? document.activeElement : null;
    if (entry === before) enter(after);
    if (place !== before) return void (focused && after.focus());
    const label = focused?.ariaLabel ?? focused?.textContent;
    show(after);
    if (!focused) return;
    setChips(after, 0);
    // The same button, if there still is one.
    const same = [...after.querySelectorAll("button")].find((each) => (each.ariaLabel ?? each.textContent) === label);
    (focused === before ? after : same ?? after).focus({ preventScroll: true });
  };
}
