/** What the page shows, as far as it can be decided without a page. */

import { isolated } from "./text.js";

/**
 * What is shown of a message. `waiting`: amendments of the reader that are not delivered are applied to it.
 * @typedef {{user: string, name?: string, text?: string, ref?: string, at: number, edited?: number, deleted?: boolean,
 *   reactions?: {key: string, users: string[]}[], waiting?: boolean}} Said
 */
/** @typedef {Record<string, string>} Strings */

/** Number of colours for people: hues around the circle, all of one lightness and chroma. */
export const HUES = 12;

/** The hue of a user's colour in degrees, the same in every browser. @param {string} user */
export function hueOf(user) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const byte of new TextEncoder().encode(user)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (((hash ^ (hash >>> 15)) >>> 0) % HUES) * (360 / HUES);
}

/** The action in "/me waves"; null for other texts. @param {string} [text] */
export function actionIn(text = "") {
  return /^\/me\s+(\S[\s\S]*)$/.exec(text)?.[1] ?? null;
}

/** Maximum number of characters of a text that is quoted in another line. */
const EXCERPT_MOST = 100;

/** The beginning of a text, in one line. @param {string} text @param {number} [most] */
export function excerpt(text, most = EXCERPT_MOST) {
  const characters = [...text.replace(/\s+/g, " ")];
  return characters.length > most ? `${characters.slice(0, most).join("")}…` : characters.join("");
}

/** @param {number} a @param {number} b milliseconds since the Unix epoch */
export function sameDay(a, b) {
  return new Date(a).toDateString() === new Date(b).toDateString();
}

/** Whether `next` is shown under the name and time of `last`. @param {Said | null} last @param {Said} next */
export function continues(last, next) {
  return (
    last !== null &&
    last.user === next.user &&
    last.name === next.name &&
    next.ref === undefined &&
    Math.floor(last.at / 60_000) === Math.floor(next.at / 60_000) &&
    actionIn(last.text) === null &&
    actionIn(next.text) === null
  );
}

/**
 * The words of a language. Values are isolated where their direction could change the sentence, and numbers are written as the locale has them.
 * @param {Strings} strings
 * @param {string} [locale] for numbers; the language of the strings if left out
 * @returns {(key: string, values?: Record<string, string | number>) => string} `count` among the values picks the plural form
 */
export function speaker(strings, locale = strings.language) {
  const plural = new Intl.PluralRules(strings.language);
  const number = new Intl.NumberFormat(locale);
  return (key, values = {}) => {
    const form = typeof values.count === "number" ? strings[`${key}_${plural.select(values.count)}`] ?? strings[`${key}_other`] : undefined;
    const text = form ?? strings[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => {
      const value = values[name];
      if (value === undefined) return whole;
      return typeof value === "number" ? number.format(value) : isolated(value);
    });
  };
}

/**
 * "ann", "ann and bob", "ann, bob and 3 others".
 * @param {string[]} names
 * @param {ReturnType<typeof speaker>} say
 */
export function listed(names, say) {
  const [first = "", second = ""] = names.map(isolated);
  if (names.length < 2) return first;
  if (names.length === 2) return say("names.two", { first, last: second });
  return say("names.more", { names: first + say("names.separator") + second, count: names.length - 2 });
}

/** Why something was refused. @param {string} code @param {ReturnType<typeof speaker>} say */
export function reason(code, say) {
  const key = `error.${code}`;
  const known = say(key);
  return known === key ? say("error.other", { code }) : known;
}
