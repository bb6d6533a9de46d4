/**
 * What a part of a room's log shows: chat messages and application events, each as its amendments have changed it.
 *
 * The part must be contiguous, and reach up to the last entry that has arrived: then it holds every amendment of its messages, since an amendment is
 * later than what it amends. The entries may arrive in any order, and repeatedly: every decision compares positions. Pure; the vectors in `vectors/fold/`
 * pin it.
 */

import { comparePositions, isLater } from "./positions.js";

/** @typedef {import("./effects.js").Message} Message */
/** @typedef {import("./effects.js").Shown} Shown */
/** The latest amendment of a kind, by position. @typedef {{pos: string, message: Message}} Latest */
/** `reactions` by key and user. @typedef {{edit: Latest | null, deletion: string | null, reactions: Map<string, Map<string, Latest>>}} Changes */

/** Whether an entry amends a message, rather than being one. @param {{event?: string}} entry */
export function isAmendment({ event }) {
  return event === "edit" || event === "delete" || event === "react";
}

/**
 * An empty part of a log. It needs memory for each entry that is not an amendment, and for the latest amendments of each message, including messages that
 * have not arrived. A message has at most as many amendments as the server retains entries per room.
 */
export function fold() {
  /** By position. @type {Map<string, Message>} */
  const entries = new Map();
  /** By position of the message that they change. @type {Map<string, Changes>} */
  const changes = new Map();

  /**
   * Adds an entry.
   * @param {Message} entry
   * @returns {string | null} the position of what is shown differently now, null if nothing is
   */
  function add(entry) {
    if (!isAmendment(entry)) {
      const held = entries.get(entry.pos);
      // Once a message came as deleted, an older copy of it does not bring the text back.
      if (!held || entry.deleted) entries.set(entry.pos, entry);
      return !held || (entry.deleted && !held.deleted) ? entry.pos : null;
    }
    if (entry.ref === undefined) return null;
    const changed = amend(changesOf(entry.ref), entry);
    const target = entries.get(entry.ref);
    if (!changed || !target) return null;
    if (entry.event === "delete") entries.set(entry.ref, { ...target, text: undefined, deleted: true });
    return entry.ref;
  }

  /** @param {string} ref */
  function changesOf(ref) {
    const held = changes.get(ref) ?? { edit: null, deletion: null, reactions: new Map() };
    changes.set(ref, held);
    return held;
  }

  /** @param {string} pos @returns {Shown | null} null where no message or event is held */
  function get(pos) {
    const entry = entries.get(pos);
    return entry ? shown(entry, changes.get(pos)) : null;
  }

  /** Everything that is shown, by position. @returns {Shown[]} */
  function list() {
    const inOrder = [...entries.values()].sort((a, b) => comparePositions(a.pos, b.pos));
    return inOrder.map((entry) => shown(entry, changes.get(entry.pos)));
  }

  /** Forgets the entries before a position: the part begins there. @param {string} pos */
  function forgetBefore(pos) {
    const isEarlier = (/** @type {string} */ each) => isLater(pos, each);
    for (const each of entries.keys()) if (isEarlier(each)) entries.delete(each);
    for (const [ref, held] of changes) {
      if (!isEarlier(ref)) continue;
      // Of an earlier message only the amendments within the part are kept: the others come again with the message.
      if (held.edit && isEarlier(held.edit.pos)) held.edit = null;
      if (held.deletion !== null && isEarlier(held.deletion)) held.deletion = null;
      for (const [key, users] of held.reactions) {
        for (const [user, latest] of users) if (isEarlier(latest.pos)) users.delete(user);
        if (!users.size) held.reactions.delete(key);
      }
      if (!held.edit && held.deletion === null && !held.reactions.size) changes.delete(ref);
    }
  }

  function clear() {
    entries.clear();
    changes.clear();
  }

  return { add, get, list, forgetBefore, clear };
}

/** @param {Changes} held @param {Message} message @returns {boolean} whether it changes anything */
function amend(held, message) {
  const { pos, user } = message;
  // The server sends a deleted edit without text: its message is deleted too.
  if (message.event === "delete" || message.deleted) {
    const first = held.deletion === null;
    if (isLater(pos, held.deletion)) held.deletion = pos;
    held.edit = null;
    return first;
  }
  if (message.event === "edit") {
    if (held.deletion !== null || !isLater(pos, held.edit?.pos ?? null)) return false;
    held.edit = { pos, message };
    return true;
  }
  const { key, on } = message.data ?? {};
  if (typeof key !== "string" || typeof on !== "boolean") return false;
  const users = held.reactions.get(key) ?? new Map();
  if (!isLater(pos, users.get(user)?.pos ?? null)) return false;
  held.reactions.set(key, users.set(user, { pos, message }));
  return true;
}

/** @param {Message} entry @param {Changes} [changes] @returns {Shown} */
function shown(entry, changes) {
  const { text, deleted, ...rest } = entry;
  if (deleted || changes?.deletion != null) return { ...rest, deleted: true, reactions: [] };
  const edit = changes?.edit?.message;
  const content = edit ? { text: edit.text, edited: edit.at } : text === undefined ? {} : { text };
  return { ...rest, ...content, reactions: changes ? reactionsOf(changes) : [] };
}

/** The reactions that are on: users in the order of their ids, keys in the order in which the first of these users reacted. @param {Changes} changes */
function reactionsOf({ reactions }) {
  const found = [];
  for (const [key, users] of reactions) {
    const on = [...users].filter(([, { message }]) => message.data.on);
    if (!on.length) continue;
    const [first = ""] = on.map(([, { pos }]) => pos).sort(comparePositions);
    found.push({ first, key, users: on.map(([user]) => user).sort() });
  }
  return found.sort((a, b) => comparePositions(a.first, b.first)).map(({ key, users }) => ({ key, users }));
}

/**
 * What is shown once the reader's own amendments that are not delivered yet are applied to it.
 * @param {Shown} shown
 * @param {import("./effects.js").Entry[]} waiting amendments of this message, in the order in which they were written
 * @param {string} me the reader
 * @returns {Shown & {waiting: boolean}} `waiting`: it differs from what others see
 */
export function withWaiting(shown, waiting, me) {
  let { text, edited, reactions } = shown;
  let deleted = shown.deleted ?? false;
  for (const { event, text: newer, data, at } of waiting) {
    if (event === "delete") deleted = true;
    if (event === "edit") [text, edited] = [newer, at];
    if (event === "react") reactions = reacted(reactions, data, me);
  }
  const { deleted: _, ...rest } = shown;
  if (deleted) return { ...rest, text: undefined, edited: undefined, reactions: [], deleted, waiting: waiting.length > 0 };
  return { ...rest, text, edited, reactions, waiting: waiting.length > 0 };
}

/** @param {Shown["reactions"]} reactions @param {{key: string, on: boolean}} data @param {string} user */
function reacted(reactions, { key, on }, user) {
  const others = (reactions.find((each) => each.key === key)?.users ?? []).filter((each) => each !== user);
  const users = on ? [...others, user].sort() : others;
  const known = reactions.some((each) => each.key === key);
  return [...reactions.map((each) => (each.key === key ? { key, users } : each)), ...(known ? [] : [{ key, users }])].filter((each) => each.users.length);
}
