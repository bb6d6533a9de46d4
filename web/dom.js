/** Elements of the page: to find those of `PAGE.md`, and to make others. */

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

/** Not for forms. @param {string} text @param {() => void} action */
export function button(text, action) {
  const made = element("button", "small", text);
  made.onclick = action;
  return made;
}

/** @param {string} href @param {string} text */
export function link(href, text) {
  const made = element("a", "", text);
  made.href = href;
  return made;
}

/** Something of a user, in their colour. @param {"span" | "li"} tag @param {string} className @param {string} user */
export function coloured(tag, className, user, text = user) {
  const made = element(tag, className, text);
  made.style.color = `oklch(var(--person) 0.12 ${hueOf(user)})`;
  return made;
}
