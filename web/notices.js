/** Which mentions become a system notification, and which messages are read aloud. Pure: the time comes with each call. */

import { excerpt } from "./render.js";
import { isolated } from "./text.js";

/** Quiet time in ms after which collected mentions are shown, and the longest time that the first of them waits. */
const QUIET_MS = 400;
const WAIT_MOST_MS = 2_000;
/** A missed message that is older than this, in ms, is not worth a notification. */
const OLD_MS = 3_600_000;
/** Maximum length of the text in a notification. */
const BODY_MOST = 200;

/** @typedef {{room: string, message: import("./machine.js").Message}} Mention */

/** Collects mentions: one notification stands for all of a burst, and for all since the reader looked last. */
export function mentionCollector() {
  /** @type {{mention: Mention, shown: boolean}[]} */
  let collected = [];
  let first = 0;
  let last = 0;
  /** Smallest difference seen between this device's clock and the log's, in ms; null before the first live message. @type {number | null} */
  let skew = null;
  const waiting = () => collected.some(({ shown }) => !shown);

  return {
    /**
     * @param {number} now
     * @param {Mention} mention
     * @param {boolean} missed it comes late, with others that were missed
     */
    add(now, mention, missed) {
      if (missed && now - mention.message.at - (skew ?? 0) > OLD_MS) return;
      if (!waiting()) first = now;
      last = now;
      collected.push({ mention, shown: false });
    },

    /** Learns the difference of the clocks from a message that was not missed. @param {number} now @param {number} at */
    live(now, at) {
      skew = Math.min(skew ?? Infinity, now - at);
    },

    /** When to call `due`; null: nothing is to be shown. @returns {number | null} */
    get wake() {
      return waiting() ? Math.min(last + QUIET_MS, first + WAIT_MOST_MS) : null;
    },

    /**
     * The mentions for one notification. Empty if it is not time, or if the reader has seen the new ones meanwhile.
     * @param {number} now @param {(room: string) => boolean} isUnread
     */
    due(now, isUnread) {
      if (this.wake === null || now < this.wake) return [];
      collected = collected.filter(({ mention }) => isUnread(mention.room));
      if (!waiting()) return [];
      collected = collected.map(({ mention }) => ({ mention, shown: true }));
      return collected.map(({ mention }) => mention);
    },

    /** The reader looks at the page: what was collected is seen. */
    seen() {
      collected = [];
    },
  };
}

/**
 * Title and body of the notification for some mentions.
 * @param {Mention[]} mentions at least one
 * @param {ReturnType<typeof import("./render.js").speaker>} say
 */
export function summary(mentions, say) {
  const [{ room, message }] = mentions.slice(-1);
  if (mentions.length === 1) return { title: say("notify.title", { user: message.name ?? message.user, room }), body: isolated(excerpt(message.text ?? "", BODY_MOST)) };
  const rooms = [...new Set(mentions.map((mention) => mention.room))];
  return { title: say("notify.many", { count: mentions.length }), body: rooms.join(say("names.separator")) };
}

/** Maximum number of new messages per second that are read aloud; of more, their number is. */
const SPOKEN_MOST = 3;

/**
 * The lines that a screen reader reads for new messages.
 * @param {import("./machine.js").Message[]} messages
 * @param {ReturnType<typeof import("./render.js").speaker>} say
 */
export function spoken(messages, say) {
  if (messages.length > SPOKEN_MOST) return [say("messages.unread", { count: messages.length })];
  return messages.map(({ user, name = user, text = "" }) => `${isolated(name)}: ${isolated(excerpt(text, BODY_MOST))}`);
}
