/** The state of the connection: in the header, in a banner where something is wrong, and in a log of both. */

import { button, element, find, link, locale } from "./dom.js";
import { isHidden, isOnline } from "./facilities.js";
import { reason } from "./render.js";

/**
 * @param {import("./trunkline.js").Client} client
 * @param {ReturnType<typeof import("./render.js").speaker>} say
 * @param {(room: string) => boolean} shown whether this room is shown
 * @param {() => void} carryOver called before the reader logs in again: keeps what the page shows
 */
export function connection(client, say, shown, carryOver) {
  const state = find("connection");
  const banner = find("banner");
  const events = find("events");
  const list = find("event-list");
  const announce = find("announce");
  const time = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
  /** Ids of entries that the server could not take for now. @type {Set<string>} */
  const delayed = new Set();
  /** The name of the state "connecting": the first time it is another one. */
  let known = "connecting";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** @param {string} text */
  const record = (text) => {
    console.debug("trunkline:", text);
    list.append(element("li", "", element("time", "quiet", time.format(Date.now())), " ", text));
    if (list.children.length > 200) list.firstElementChild?.remove();
    list.scrollTop = list.scrollHeight;
  };
  /** @param {string} kind @param {...(Node | string)} content none: no banner */
  const show = (kind, ...content) => {
    clearTimeout(timer);
    banner.hidden = content.length === 0;
    banner.className = kind;
    banner.replaceChildren(...content);
  };
  /** The banner of an undisturbed connection. */
  const showNormal = () => (delayed.size ? show("warn", say("state.delayed")) : show(""));
  /** @param {string} kind @param {string} text */
  const showBriefly = (kind, text) => {
    record(text);
    show(kind, text);
    announce.textContent = text;
    timer = setTimeout(showNormal, 8_000);
  };
  /** @param {number} at */
  const showWaiting = (at) => {
    const text = element("span", "");
    const count = () => {
      const seconds = Math.max(0, Math.ceil((at - client.now) / 1000));
      text.textContent = say("state.waiting", { seconds });
      if (seconds > 0) timer = setTimeout(count, 1_000);
    };
    show("warn", text, " ", button(say("state.now"), () => client.connect()));
    count();
  };
  /** @param {string} cause */
  const showEnded = (cause) => {
    const again = link(location.href, say("state.login"));
    again.onclick = carryOver;
    show("error", say(cause === "other_user" ? "state.other_user" : "state.ended_long"), " ", again);
  };

  client.on("state", (effect) => {
    const now = effect.state;
    const before = state.dataset.state;
    state.dataset.state = now;
    switch (now) {
      case "connected":
        known = "reconnecting";
        state.textContent = say("state.connected", { instance: effect.instance });
        showNormal();
        break;
      case "connecting":
        state.textContent = say(`state.${known}`);
        if (before === "offline") show("warn", say("state.reconnecting"));
        break;
      case "waiting":
        state.textContent = say("state.down");
        clearTimeout(timer);
        // Most reconnections are over before a reader could read about them.
        if ((effect.retry_at ?? 0) - client.now > 700) showWaiting(effect.retry_at ?? 0);
        else if (banner.hidden) timer = setTimeout(() => show("warn", say("state.reconnecting")), 1_500);
        break;
      default:
        state.textContent = say(`state.${now}`);
        if (now === "offline") show("warn", say("state.offline_long"));
        if (now === "ended") showEnded(effect.cause);
        if (now === "down") show("error", say("state.down_long"), " ", button(say("state.reconnect"), () => client.connect()));
    }
    announce.textContent = state.textContent;
    record("code" in effect && effect.code ? `${state.textContent} – ${say("events.closed", { code: String(effect.code) })}` : state.textContent);
  });
  client.on("entry", ({ entry }) => {
    const before = delayed.size;
    if (entry.state === "pending" && entry.code === "unavailable") delayed.add(entry.id);
    else if (entry.state !== "pending" || entry.tried === null) delayed.delete(entry.id);
    if (entry.state === "failed" || entry.state === "unsure") announce.textContent = say(entry.state === "failed" ? "message.failed" : "message.unsure", { reason: reason(entry.code ?? "", say) });
    if (state.dataset.state === "connected" && (before > 0) !== delayed.size > 0) showNormal();
  });
  // Other rooms show this in their counts and conversations.
  client.on("caught_up", ({ room, missed }) => {
    if (missed && shown(room)) showBriefly("good", say("state.caught_up", { count: missed }));
  });
  client.on("joined", ({ room, gap }) => {
    if (gap && shown(room)) showBriefly("warn", say("messages.gap"));
  });
  client.on("refused", ({ code, room }) => {
    // A room that cannot be entered for now is joined again. So this is another command, such as a read mark.
    if (room && (code === "unavailable" || code === "rate_limited")) return record(`${room}: ${reason(code, say)}`);
    const text = room ? say("room.refused", { room, reason: reason(code, say) }) : reason(code, say);
    record(text);
    if (room) show("error", text);
  });
  state.onclick = () => {
    events.hidden = !events.hidden;
    state.ariaExpanded = String(!events.hidden);
    list.scrollTop = list.scrollHeight;
  };

  addEventListener("online", () => client.tell("online"));
  addEventListener("offline", () => client.tell("offline"));
  // A page that comes back from the browser's memory, or from a frozen tab, may hold a dead socket.
  for (const [target, type] of /** @type {const} */ ([[document, "visibilitychange"], [document, "resume"], [globalThis, "pageshow"]])) {
    target.addEventListener(type, () => isHidden() || client.tell("visible"));
  }
  if (!isOnline()) client.tell("offline");
}
