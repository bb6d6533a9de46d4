/**
 * What a room shows the reader: the part of the log that has arrived, folded, with the reader's own amendments that are not delivered yet applied to it. Pure.
 *
 * Changes are reported as positions of messages that look different now: amended ones, and those that quote them.
 */

import { fold, withWaiting } from "./fold.js";
import { isLater, ORIGIN } from "./positions.js";

/** @typedef {import("./effects.js").Message} Message */
/** @typedef {import("./effects.js").Entry} Entry */
/** @typedef {ReturnType<typeof withWaiting>} Amended */

/** Whether an entry is a chat message. Application events are for other programs. @param {{event?: string}} entry */
export function isChat({ event }) {
  return event === undefined;
}

/** @param {string} me the reader */
export function roomContent(me) {
  const part = fold();
  /** @type {string | null} */
  let oldest = null;
  let newest = ORIGIN;
  /** Own amendments by id, in the order in which they were written. @type {Map<string, Entry>} */
  let waiting = new Map();
  /** Positions of the messages that answer a message, by its position. @type {Map<string, string[]>} */
  const answers = new Map();

  /** @param {string | null | undefined} pos @returns {string[]} */
  function withAnswers(pos) {
    return pos == null ? [] : [pos, ...(answers.get(pos) ?? [])];
  }

  /** Adds an entry, in any order. @param {Message} entry @returns {string[]} what looks different now, without the entry itself */
  function add(entry) {
    const { pos, user, id, ref } = entry;
    const changed = part.add(entry);
    if (oldest === null || isLater(oldest, pos)) oldest = pos;
    if (isLater(pos, newest)) newest = pos;
    if (isChat(entry) && ref !== undefined) answers.set(ref, [...(answers.get(ref) ?? []).filter((each) => each !== pos), pos]);
    const own = user === me ? withAnswers(settled(id)) : [];
    return [...withAnswers(changed), ...own].filter((each) => each !== pos);
  }

  /** An amendment of the outbox is delivered or given up. @param {string} id @returns {string | undefined} the position of what it amends */
  function settled(id) {
    const ref = waiting.get(id)?.ref;
    waiting.delete(id);
    return ref;
  }

  /** An own amendment in the outbox has changed. @param {Entry} entry @returns {string[]} what looks different now */
  function amending(entry) {
    // `sent`: the server has it, and it arrives soon, unless it has arrived already.
    const waits = entry.state === "pending" || (entry.state === "sent" && waiting.has(entry.id));
    if (!waits) return withAnswers(settled(entry.id));
    waiting.set(entry.id, entry);
    waiting = new Map([...waiting].sort(([, a], [, b]) => a.at - b.at));
    return withAnswers(entry.ref);
  }

  /** Forgets the own amendments that the server has: they have arrived, or are older than what is held. @returns {string[]} what looks different now */
  function dropSent() {
    const sent = [...waiting.values()].filter(({ state }) => state === "sent");
    return sent.flatMap(({ id }) => withAnswers(settled(id)));
  }

  /** @param {string} pos @returns {Amended | null} null where no chat message has arrived */
  function get(pos) {
    const shown = part.get(pos);
    return shown && isChat(shown) ? withWaiting(shown, [...waiting.values()].filter(({ ref }) => ref === pos), me) : null;
  }

  /** @param {string} pos the first entry that is kept */
  function forgetBefore(pos) {
    oldest = pos;
    part.forgetBefore(pos);
    for (const [ref, positions] of answers) {
      const kept = positions.filter((each) => !isLater(pos, each));
      if (kept.length) answers.set(ref, kept);
      else answers.delete(ref);
    }
  }

  /** Continuity broke. */
  function clear() {
    part.clear();
    answers.clear();
    oldest = null;
    newest = ORIGIN;
  }

  return {
    add, amending, dropSent, get, forgetBefore, clear,
    /** The first and the last entry of the part; null and `ORIGIN` before any. */
    get oldest() { return oldest; },
    get newest() { return newest; },
  };
}

