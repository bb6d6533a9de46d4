/** The chat page: `PAGE.md` says what HTML it finds, `trunkline.js` does the talking. */

import { connection } from "./connection.js";
import { button, coloured, element, find, link } from "./dom.js";
import { conversation } from "./log.js";
import { listed, reason, speaker } from "./render.js";
import { openRooms } from "./rooms.js";
import { Client, refusal } from "./trunkline.js";

/** Milliseconds between two looks at where others are, and how many rooms of those are shown. */
const LOOK_EVERY = 30_000;
const ACTIVE_MOST = 30;

/**
 * A room that is open: `way` (there) and `count` stand in its `item` of the list; `typists` are writing now; `here` is null where only
 * their number is known, `people` null before that.
 * @typedef {{name: string, log: ReturnType<typeof conversation>, item: HTMLElement, way: HTMLElement, count: HTMLElement,
 *   typists: Map<string, ReturnType<typeof setTimeout>>, people: {count: number, here: string[] | null} | null}} Room
 */

const { room: home = "", user = "" } = document.body.dataset;
const say = speaker(JSON.parse(find("strings").textContent ?? ""));
const client = new Client({ user });
const opened = openRooms(localStorage, user);
/** @type {Map<string, Room>} */
const rooms = new Map();
const list = find("room-list");
/** The one that is shown. @type {Room} */
let current;

const showDraft = composer();
const showActive = active();
const closeDrawers = drawers();
const notify = notifications();
connection(client, say, (name) => name === current.name);
enter(home);
happenings();
client.connect();

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
    showPeople();
    showTypists();
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
  const log = conversation({
    user,
    room: name,
    read: new Map(opened.list()).get(name) ?? "",
    say,
    client,
    seen: (position) => opened.read(name, position),
    counted: (unread, mentioned) => {
      badge.textContent = unread ? `${mentioned ? "@" : ""}${unread}` : "";
      badge.classList.toggle("mentioned", mentioned);
      way.ariaLabel = unread ? `${name}, ${say("messages.unread", { count: unread })}` : null;
      showUnread();
    },
  });
  const item = element("li", "", way, count, leaving);
  const room = { name, log, item, way, count, typists: new Map(), people: null };
  rooms.set(name, room);
  list.replaceChildren(...[...rooms.keys()].sort().map((each) => rooms.get(each)?.item ?? ""));
  showActive();
  client.join(name);
  return room;
}

/** Out of a room, and if it is the one that is shown, to the one before it. @param {string} name */
function leave(name) {
  opened.leave(name);
  const [latest] = opened.list();
  if (name === current.name && latest) return go(latest[0]);
  keepUp();
  current.way.focus();
}

/** Holds the rooms that are open in this browser, and no others. */
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

/** In the title all rooms count; on the button that opens the list, the others. */
function showUnread() {
  const sum = [...rooms.values()].reduce((all, { log }) => all + log.unread, 0);
  const others = sum - current.log.unread;
  document.title = `${sum ? `(${sum}) ` : ""}${current.name} · ${say("product")}`;
  find("elsewhere").textContent = others ? String(others) : "";
}

/** To a room by the reader's wish, so that the browser's "back" leads here. @param {string} name */
function go(name) {
  if (name !== current.name) history.pushState(null, "", `/rooms/${name}`);
  enter(name);
}

/** A link that `happenings` follows without a new page. @param {string} room @param {...Node} more */
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

// ---------------------------------------------------------------- what happens

function happenings() {
  /**
   * @template {"joined" | "caught_up" | "history" | "history_failed" | "message" | "typing" | "presence"} K
   * @param {K} what @param {(room: Room, told: Extract<import("./machine.js").Effect, {do: K}>) => void} act
   */
  const on = (what, act) => client.on(what, (/** @type {any} */ told) => {
    const room = rooms.get(told.room);
    if (room) act(room, told);
  });
  for (const what of /** @type {const} */ (["joined", "caught_up", "history", "history_failed"])) {
    on(what, ({ log }, /** @type {any} */ told) => log[what](told));
  }
  client.on("entry", ({ entry }) => rooms.get(entry.room)?.log.entry(entry));
  on("message", (room, { message, own }) => {
    stopped(room, message.user);
    if (room.log.add(message, own) && document.hidden) notify(room.name, message);
  });
  on("typing", (room, { user: typist }) => {
    if (typist === user) return;
    clearTimeout(room.typists.get(typist));
    room.typists.set(typist, setTimeout(() => stopped(room, typist), 5_000));
    showTypists();
  });
  on("presence", (room, told) => {
    room.people = told;
    room.count.textContent = String(told.count);
    for (const what of /** @type {const} */ (["came", "went"])) {
      const others = told[what].filter((name) => name !== user);
      if (others.length) room.log.note(say(`people.${what}`, { names: listed(others, say) }));
    }
    showPeople();
  });

  find("latest").onclick = () => current.log.toEnd();
  find("log").addEventListener("scroll", () => current.log.scrolled(), { passive: true });
  new ResizeObserver(() => current.log.resized()).observe(find("log"));
  for (const type of ["focus", "visibilitychange"]) addEventListener(type, () => current.log.seen(), true);
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
}

/** @param {Room} room @param {string} name */
function stopped({ typists }, name) {
  clearTimeout(typists.get(name));
  typists.delete(name);
  showTypists();
}

function showTypists() {
  const names = [...current.typists.keys()];
  find("typing").textContent = names.length ? say("typing", { names: listed(names, say), count: names.length }) : "";
}

/** Hidden until the server tells who is here. */
function showPeople() {
  const { people } = current;
  const show = find("show-people");
  find("people").hidden = show.hidden = !people;
  if (!people) return;
  const heading = say("people.count", { count: people.count });
  find("people-count").textContent = show.ariaLabel = heading;
  show.textContent = String(people.count);
  find("people-list").replaceChildren(
    ...(people.here ?? []).map((name) => coloured("li", "", name, name === user ? say("people.you", { name }) : name)),
  );
}

// ---------------------------------------------------------------- parts of the page

/** @returns {() => void} shows what was being written in the current room */
function composer() {
  const form = find("composer", HTMLFormElement);
  const text = find("text", HTMLTextAreaElement);
  const error = find("text-error");
  const grows = CSS.supports("field-sizing", "content");
  // Of this tab, and of this user: logging in again brings it back.
  const draft = () => `trunkline:draft:${user}:${current.name}`;

  const changed = () => {
    if (text.value) sessionStorage.setItem(draft(), text.value);
    else sessionStorage.removeItem(draft());
    error.textContent = refusal(text.value) === "too_long" ? say("error.too_long") : "";
    text.ariaInvalid = String(error.textContent !== "");
    if (grows) return;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
  };
  text.addEventListener("input", () => {
    changed();
    if (text.value) client.typing(current.name);
  });
  text.addEventListener("keydown", (event) => {
    // Enter that ends a composition (Chinese, Japanese, …) chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (text.value.trim() === "" || document.body.dataset.state === "ended") return;
    const refused = refusal(text.value);
    if (refused) {
      error.textContent = reason(refused, say);
      return;
    }
    client.send(current.name, text.value);
    text.value = "";
    changed();
    text.focus();
  });
  client.on("state", ({ state }) => {
    document.body.dataset.state = state;
    for (const each of form.querySelectorAll("button")) each.disabled = state === "ended";
  });
  return () => {
    text.value = sessionStorage.getItem(draft()) ?? "";
    text.placeholder = say("composer.hint", { room: current.name });
    changed();
    // On a phone the keyboard would cover the messages.
    if (matchMedia("(hover: hover)").matches) text.focus();
  };
}

/** Where others are. @returns {() => void} shows those of these rooms that are not open */
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
    if (document.hidden || document.body.dataset.state !== "connected") return;
    try {
      const response = await fetch("/rooms", { headers: { accept: "application/json" } });
      if (response.ok) ({ rooms: found } = await response.json());
    } catch {
      // The list is a convenience: the page does without it.
    }
    if (!links.contains(document.activeElement)) show();
  };
  client.on("state", look);
  document.addEventListener("visibilitychange", look);
  setInterval(look, LOOK_EVERY);
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

/** Only if asked for. @returns {(room: string, message: import("./machine.js").Message) => void} */
function notifications() {
  const ask = find("notify");
  if (!("Notification" in globalThis)) return () => {};
  ask.hidden = Notification.permission !== "default";
  ask.onclick = async () => {
    ask.hidden = (await Notification.requestPermission()) !== "default";
  };
  return (room, { user: author, text, pos }) => {
    if (Notification.permission !== "granted") return;
    const notification = new Notification(say("notify.title", { user: author, room }), { body: text, tag: pos });
    notification.onclick = () => {
      window.focus();
      go(room);
    };
  };
}
