/** The chat page: `PAGE.md` is the contract with its HTML, `trunkline.js` the connection. */

import { messageActions } from "./actions.js";
import { alerts } from "./alerts.js";
import { browserStore } from "./browserstore.js";
import { composer } from "./composer.js";
import { connection } from "./connection.js";
import { button, element, find, link, locale } from "./dom.js";
import { carry, draftStore, takeCarried } from "./drafts.js";
import { hasFocus, isHidden, keyValueStore, onResize, showPath, timeoutSignal } from "./facilities.js";
import { isAmendment } from "./fold.js";
import { conversation } from "./log.js";
import { logout } from "./logout.js";
import { people } from "./people.js";
import { ORIGIN } from "./positions.js";
import { speaker } from "./render.js";
import { openRooms } from "./rooms.js";
import { Client } from "./trunkline.js";

/** Time in ms between two requests for the rooms where others are, and the maximum number of those that are shown. */
const ACTIVE_EVERY = 30_000;
const ACTIVE_MOST = 30;
/** Time in ms after connecting after which they are requested once more. */
const ACTIVE_AGAIN = 5_000;

/** Maximum time in ms by which the clock of this device can have been ahead: a year. */
const LATEST_WRITTEN_MOST = 31_536_000_000;

/**
 * A room that is open. Its `item` in the list holds the link `way` and the number `count`.
 * @typedef {{name: string, log: ReturnType<typeof conversation>, item: HTMLElement, way: HTMLElement, count: HTMLElement,
 *   people: import("./people.js").People}} Room
 */

const { room: home = "", user = "" } = document.body.dataset;
const login = find("user").dataset.login || user;
const say = speaker(JSON.parse(find("strings").textContent ?? ""), locale);
const showLimit = limits();
const tabStorage = keyValueStore("sessionStorage");
const drafts = draftStore(tabStorage, keyValueStore("localStorage", () => showLimit("drafts")), login);
const roomStorage = keyValueStore("localStorage", () => showLimit("rooms"));
const opened = openRooms(roomStorage, user);
/** Messages that are not sent are lost with the page. */
let unkept = false;
const store = browserStore((kept) => {
  unkept ||= !kept;
  showLimit(kept ? "database" : "outbox");
});
const client = new Client({ user, login, store, written: latestWritten() });
/** Own messages that are not delivered, by id. @type {Map<string, import("./machine.js").Entry>} */
const unsent = new Map();
/** @type {Map<string, Room>} */
const rooms = new Map();
const list = find("room-list");
const collator = new Intl.Collator(locale, { numeric: true });
/** The one that is shown. @type {Room} */
let current;

const showLoss = logout({ say, unsent: () => unsent.size, hasDrafts: () => drafts.all().length > 0, forget });
const { show: showDraft, begin } = composer({ say, client, drafts, room: () => current.name, changed: showLoss });
const who = people({ user, say, collator, client, roomOf: (name) => rooms.get(name), shown: () => current.people });
const redrawn = messageActions({
  user,
  say,
  at: (pos) => current.log.at(pos),
  answer: (message) => begin({ kind: "answer", message }),
  edit: (message) => begin({ kind: "edit", message }),
  remove: ({ pos }) => client.delete(current.name, pos),
  react: ({ pos }, key, on) => client.react(current.name, pos, key, on),
});
const showActive = active();
const closeDrawers = drawers();
const { news, looked, hush } = alerts({ say, go, isShown: (name) => name === current.name, isUnread: (name) => !!rooms.get(name)?.log.unread });
connection(client, say, (name) => name === current.name, carryOver);
guardUnsent();
beginLogin();
enter(home);
showLoss();
listen();
client.connect();

// ---------------------------------------------------------------- the login

/** Deletes what other logins left behind, and takes what the reader carried over from a page whose session had ended. */
function beginLogin() {
  drafts.retain();
  void store.retain(login);
  const carried = takeCarried(tabStorage, user, Date.now());
  for (const [room, text] of carried.drafts) {
    const held = drafts.read(room);
    drafts.write(room, held ? `${held}\n${text}` : text);
  }
  for (const entry of carried.entries) {
    opened.open(entry.room);
    // Not sent by itself: the reader decides.
    const state = entry.tried === null ? /** @type {const} */ ("failed") : "unsure";
    void store.put({ ...entry, login, owner: "carried", state, code: "session_ended" });
  }
}

/** Keeps what this page shows for the next login in this tab. */
function carryOver() {
  carry(tabStorage, { user, at: Date.now(), drafts: drafts.all(), entries: [...unsent.values()] });
}

/** Deletes what the browser keeps of this login. */
async function forget() {
  client.disconnect();
  hush();
  find("text", HTMLTextAreaElement).value = "";
  drafts.drop();
  roomStorage.removeItem(opened.key);
  await client.forget();
}

/** The latest time of writing of any tab, so that messages keep their order even if the clock is set back. */
function latestWritten() {
  const storage = keyValueStore("localStorage");
  const key = "trunkline:written";
  const get = () => {
    const at = Number(storage.getItem(key));
    // A value from the far future is garbage.
    return at < Date.now() + LATEST_WRITTEN_MOST ? at : 0;
  };
  return { get, set: (/** @type {number} */ at) => storage.setItem(key, String(at)) };
}

/** Says what this browser does not keep. @returns {(limit: "drafts" | "rooms" | "database" | "outbox") => void} */
function limits() {
  /** @type {Set<string>} */
  const known = new Set();
  const sentences = { outbox: say("limits.outbox"), database: say("limits.database"), drafts: say("limits.drafts"), rooms: say("limits.rooms") };
  return (limit) => {
    if (known.has(limit)) return;
    known.add(limit);
    if (known.has("outbox")) known.delete("database");
    const text = Object.entries(sentences).filter(([each]) => known.has(each)).map(([, sentence]) => sentence);
    find("limits").hidden = false;
    find("limits").textContent = text.join(" ");
  };
}

/** Asks before the page is closed, where closing it loses messages. */
function guardUnsent() {
  addEventListener("beforeunload", (event) => {
    if (unkept && unsent.size) event.preventDefault();
  });
}

// ---------------------------------------------------------------- rooms

/** Shows a room; opens it if it is not open. @param {string} name */
function enter(name) {
  closeDrawers();
  if (name !== current?.name) {
    if (current) {
      current.log.hide();
      current.way.ariaCurrent = null;
    }
    opened.open(name);
    current = rooms.get(name) ?? hold(name);
    // If the connection is lost, this room comes first.
    client.join(name);
    keepUp();
    current.way.ariaCurrent = "page";
    find("room").textContent = name;
    current.log.show();
    who.show();
  }
  showDraft();
}

/** Joins a room, and puts it into the list. @param {string} name @returns {Room} */
function hold(name) {
  const badge = element("span", "badge");
  const way = wayTo(name, badge);
  const count = element("span", "quiet");
  const leaving = button("×", () => leave(name));
  leaving.ariaLabel = leaving.title = say("rooms.leave", { room: name });
  const read = new Map(opened.list()).get(name) ?? "";
  const log = conversation({
    user,
    room: name,
    read,
    say,
    client,
    nameOf: who.nameOf,
    isNamed: who.isNamed,
    redrawn,
    seen: (position) => {
      opened.read(name, position);
      showRead(name, position);
    },
    counted: (unread, mentioned, atLeast) => {
      badge.textContent = unread ? `${mentioned ? "@" : ""}${unread}${atLeast ? "+" : ""}` : "";
      badge.classList.toggle("mentioned", mentioned);
      way.ariaLabel = unread ? `${name}, ${say("messages.unread", { count: unread })}` : null;
      showUnread();
    },
    news: (message, how) => news(name, message, how),
  });
  const item = element("li", "", way, count, leaving);
  const room = { name, log, item, way, count, people: { typists: new Map(), state: null } };
  rooms.set(name, room);
  list.replaceChildren(...[...rooms.keys()].sort(collator.compare).map((each) => rooms.get(each)?.item ?? ""));
  showActive();
  client.join(name);
  if (read) showRead(name, read);
  return room;
}

/** Sends the reader's other devices how far the room was read here. @param {string} name @param {string} position */
function showRead(name, position) {
  if (position !== ORIGIN) client.seen(name, position);
}

/** Leaves a room. If it is shown, the one that was opened before it is shown instead. @param {string} name */
function leave(name) {
  opened.leave(name);
  const [latest] = opened.list();
  if (name === current.name && latest) return go(latest[0]);
  keepUp();
  current.way.focus();
}

/** Joins the rooms that are open in this browser, and leaves the others. */
function keepUp() {
  const open = new Map(opened.list());
  for (const [name, read] of open) (rooms.get(name) ?? hold(name)).log.readUpTo(read);
  for (const { name, item } of rooms.values()) {
    if (open.has(name) || name === current.name) continue;
    client.leave(name);
    item.remove();
    rooms.delete(name);
    showActive();
  }
  showUnread();
}

/** The title counts the unread messages of all rooms; the button that opens the list, those of the rooms that are not shown. */
function showUnread() {
  const sum = [...rooms.values()].reduce((all, { log }) => all + log.unread, 0);
  const others = sum - current.log.unread;
  document.title = `${sum ? `(${sum}) ` : ""}${current.name} · ${say("product")}`;
  find("elsewhere").textContent = others ? String(others) : "";
}

/** Shows a room in such a way that the browser's "back" leads here. @param {string} name */
function go(name) {
  if (name !== current.name) showPath(`/rooms/${name}`);
  enter(name);
}

/** A link that `listen` follows without a new page. @param {string} room @param {...Node} more */
function wayTo(room, ...more) {
  const way = link(`/rooms/${room}`, "");
  way.append(element("span", "name", room), ...more);
  way.title = room;
  return way;
}

/** The room of an address; that of `/` is the one that the page was loaded with. @param {string} path */
function roomOf(path) {
  return path.split("/rooms/")[1] ?? home;
}

// ---------------------------------------------------------------- events

function listen() {
  /**
   * @template {"joined" | "caught_up" | "history" | "history_failed" | "message" | "seen"} K
   * @param {K} what @param {(room: Room, effect: Extract<import("./machine.js").Effect, {do: K}>) => void} act
   */
  const on = (what, act) => client.on(what, (/** @type {any} */ effect) => {
    const room = rooms.get(effect.room);
    if (room) act(room, effect);
  });
  for (const what of /** @type {const} */ (["joined", "caught_up", "history", "history_failed"])) {
    on(what, ({ log }, /** @type {any} */ effect) => log[what](effect));
  }
  client.on("entry", ({ entry }) => {
    if (entry.state === "sent" || entry.state === "discarded") unsent.delete(entry.id);
    else unsent.set(entry.id, entry);
    rooms.get(entry.room)?.log.entry(entry);
    showLoss();
  });
  on("message", (room, { message, own }) => {
    if (!isAmendment(message)) who.stopTyping(room.people, message.user);
    room.log.add(message, own);
  });
  // Read on another device.
  on("seen", (room, { pos }) => {
    room.log.readUpTo(pos);
    opened.read(room.name, pos);
  });
  client.on("state", ({ state }) => {
    document.body.dataset.state = state;
    if (state === "connected") return;
    // Without a connection the page does not know which users are typing.
    for (const { people } of rooms.values()) for (const typist of people.typists.keys()) who.stopTyping(people, typist);
  });

  find("latest").onclick = () => current.log.toEnd();
  find("log").addEventListener("scroll", () => current.log.scrolled(), { passive: true });
  onResize(find("log"), () => current.log.resized());
  for (const type of ["focus", "visibilitychange"]) {
    addEventListener(type, () => {
      current.log.seen();
      if (hasFocus()) looked();
    }, true);
  }
  addEventListener("storage", ({ key }) => key === opened.key && keepUp());
  addEventListener("popstate", () => enter(roomOf(location.pathname)));
  find("rooms").addEventListener("click", (event) => {
    const way = event.target instanceof Element && event.target.closest("a");
    if (!way || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(roomOf(way.pathname));
  });
  const name = find("room-name", HTMLInputElement);
  find("open-room").addEventListener("submit", (event) => {
    event.preventDefault();
    go(name.value);
    name.value = "";
  });
  for (const button of find("open-room").querySelectorAll("button")) button.disabled = false;
}

// ---------------------------------------------------------------- parts of the page

/** The rooms where others are. @returns {() => void} shows those that are not open here */
function active() {
  const links = find("active-list");
  /** @type {{room: string, count: number}[]} */
  let found = [];
  const show = () => {
    const others = found.filter(({ room }) => !rooms.has(room)).slice(0, ACTIVE_MOST);
    find("active").hidden = others.length === 0;
    links.replaceChildren(
      ...others.map(({ room, count }) => element("li", "", wayTo(room), element("span", "quiet", String(count)))),
    );
  };
  const look = async () => {
    if (isHidden() || document.body.dataset.state !== "connected") return;
    try {
      const response = await fetch("/rooms", { headers: { accept: "application/json" }, signal: timeoutSignal(ACTIVE_EVERY) });
      const answer = response.ok ? await response.json() : null;
      if (Array.isArray(answer?.rooms)) found = answer.rooms;
    } catch {
      // The list is a convenience: the page does without it.
    }
    if (!links.contains(document.activeElement)) show();
  };
  client.on("state", ({ state }) => {
    void look();
    // Instances learn of each other's rooms a moment later.
    if (state === "connected") setTimeout(look, ACTIVE_AGAIN);
  });
  document.addEventListener("visibilitychange", look);
  setInterval(look, ACTIVE_EVERY);
  return show;
}

/** On a phone, rooms and people open above the messages. @returns {() => void} closes them */
function drawers() {
  const all = ["rooms", "people"].map((id) => ({ drawer: find(id), opener: find(`show-${id}`) }));
  /** @param {typeof all[0]} pair @param {boolean} open */
  const set = ({ drawer, opener }, open) => {
    drawer.classList.toggle("open", open);
    opener.ariaExpanded = String(open);
  };
  for (const pair of all) {
    pair.opener.onclick = () => {
      const open = !pair.drawer.classList.contains("open");
      for (const each of all) set(each, each === pair && open);
      if (open) pair.drawer.querySelector("a")?.focus();
    };
  }
  const close = () => {
    const open = all.find(({ drawer }) => drawer.classList.contains("open"));
    if (!open) return;
    set(open, false);
    open.opener.focus();
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  find("log").addEventListener("pointerdown", close);
  return close;
}
