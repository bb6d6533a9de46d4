/** System notifications, only if the reader asked for them, and the lines that screen readers read for new messages. */

import { element, find, locale } from "./dom.js";
import { hasFocus, notifier } from "./facilities.js";
import { mentionCollector, spoken, summary } from "./notices.js";

/** Time in ms for which new messages are collected before they are read aloud, and for which the text stays there. */
const SPOKEN_EVERY = 1_000;
const SPOKEN_KEPT = 10_000;

/**
 * @param {object} page
 * @param {ReturnType<typeof import("./render.js").speaker>} page.say
 * @param {(room: string) => void} page.go shows a room
 * @param {(room: string) => boolean} page.isShown
 * @param {(room: string) => boolean} page.isUnread
 * @returns {{news: (room: string, message: import("./machine.js").Message, how: import("./log.js").Circumstances) => void,
 *   looked: () => void, hush: () => void}} `news`: a message has come; `looked`: the reader looks at the page; `hush`: removes notifications
 */
export function alerts({ say, go, isShown, isUnread }) {
  const ask = find("notify");
  const notifications = notifier();
  const mentions = mentionCollector();
  const region = find("news");
  /** @type {import("./machine.js").Message[]} */
  let unspoken = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  ask.hidden = !notifications.offered();
  ask.onclick = async () => {
    await notifications.ask();
    ask.hidden = !notifications.offered();
  };
  const show = () => {
    // A timer that fired has waited, even if the clock was set back meanwhile.
    const due = mentions.due(Math.max(Date.now(), mentions.wake ?? 0), isUnread);
    const [latest] = due.slice(-1);
    if (!latest) return;
    // All tabs use one tag: the browser shows one notification, whichever of them show it.
    const { title, body } = summary(due, say);
    notifications.show(title, { body, tag: "trunkline:mentions", lang: locale }, () => go(latest.room));
  };
  const speak = () => {
    const lines = spoken(unspoken, say).map((line) => element("p", "", line));
    unspoken = [];
    region.append(...lines);
    setTimeout(() => lines.forEach((line) => line.remove()), SPOKEN_KEPT);
  };

  return {
    news(room, message, { named, missed }) {
      if (!missed) mentions.live(Date.now(), message.at);
      if (named && notifications.granted() && !hasFocus()) {
        mentions.add(Date.now(), { room, message }, missed);
        clearTimeout(timer);
        if (mentions.wake !== null) timer = setTimeout(show, Math.max(0, mentions.wake - Date.now()));
      }
      // What was missed is announced by its number: see `connection.js`.
      if (missed || !isShown(room)) return;
      if (!unspoken.length) setTimeout(speak, SPOKEN_EVERY);
      unspoken.push(message);
    },
    looked() {
      mentions.seen();
      notifications.close();
    },
    hush: notifications.close,
  };
}
