/** Elements of the page: finds those of `PAGE.md`, and makes others. */

import { localeFor } from "./facilities.js";
import { hueOf } from "./render.js";

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @param {new () => T} [type] @returns {T} */
export function find(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof (type ?? HTMLElement))) throw new Error(`the page lacks #${id}`);
  return /** @type {T} */ (found);
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {string} className @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** An element for text that people wrote: it has its own direction, and does not change the direction of its surroundings. @template {"span" | "p" | "li"} K @param {K} tag @param {string} className @param {...(Node | string)} children */
export function written(tag, className, ...children) {
  const made = element(tag, className, ...children);
  made.dir = "auto";
  return made;
}

/** A button that submits no form. @param {string} text @param {() => void} action */
export function button(text, action) {
  const made = element("button", "small", text);
  made.type = "button";
  made.onclick = action;
  return made;
}

/** @param {string} href @param {string} text */
export function link(href, text) {
  const made = element("a", "", text);
  made.href = href;
  return made;
}

/** A user's name, or another text about the user, in the user's colour. @param {"span" | "li"} tag @param {string} className @param {string} user */
export function coloured(tag, className, user, text = user) {
  const made = written(tag, className, text);
  made.style.color = `oklch(var(--person) 0.12 ${hueOf(user)})`;
  return made;
}

/** The locale of every date, number and order on the page. */
export const locale = localeFor(document.documentElement.lang || "en");
