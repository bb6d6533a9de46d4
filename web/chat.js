/** The chat page: `PAGE.md` says what HTML it finds, `trunkline.js` does the talking. */

import { button, element, Log, reason } from "./log.js";
import { colourOf, listed, mentions, speaker } from "./render.js";
import { Client, refusal } from "./trunkline.js";

/** @template {HTMLElement} T @param {string} id @param {new () => T} type @returns {T} */
function find(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page lacks #${id}`);
  return found;
}

const { room = "lobby", user = "" } = document.body.dataset;
const say = speaker(JSON.parse(find("strings", HTMLScriptElement).text));
const client = new Client({ user });
const log = new Log(
  {
    scroller: find("log", HTMLElement),
    messages: find("messages", HTMLElement),
    unsent: find("unsent", HTMLElement),
    latest: find("latest", HTMLElement),
  },
  {
    user,
    room,
    say,
    older: (before) => client.history(room, { before }),
    retry: (id) => client.retry(room, id),
    discard: (id) => client.discard(room, id),
    unread: (count) => { document.title = `${count ? `(${count}) ` : ""}${room} · ${say("product")}`; },
  },
);

connection();
conversation();
composer();
people();
rooms();
drawers();
notifications();
client.join(room);
client.connect();

/** State, banner and the log of both. */
function connection() {
  const state = find("connection", HTMLButtonElement);
  const banner = find("banner", HTMLElement);
  const events = find("events", HTMLElement);
  const list = find("event-list", HTMLElement);
  const announce = find("announce", HTMLElement);
  const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  /** Entries that the server could not take for now. @type {Set<string>} */
  const delayed = new Set();
  let connected = false;
  let connectedOnce = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  /** @param {string} text */
  const record = (text) => {
    console.debug("trunkline:", text);
    list.append(element("li", "", element("time", "quiet", time.format(Date.now())), " ", text));
    while (list.children.length > 200) list.firstElementChild?.remove();
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
  const showUsual = () => (delayed.size ? show("warn", say("state.delayed")) : show(""));
  /** @param {string} kind @param {string} text */
  const showBriefly = (kind, text) => {
    show(kind, text);
    announce.textContent = text;
    timer = setTimeout(showUsual, 8_000);
  };
  /** @param {number} at */
  const showWaiting = (at) => {
    const now = button(say("state.now"), () => client.connect());
    const text = element("span", "");
    const count = () => {
      const seconds = Math.max(0, Math.ceil((at - Date.now()) / 1000));
      text.textContent = say("state.waiting", { seconds });
      if (seconds > 0) timer = setTimeout(count, 1_000);
    };
    show("warn", text, " ", now);
    count();
  };

  client.on("state", (told) => {
    connected = told.state === "connected";
    state.dataset.state = told.state;
    const link = element("a", "", say("state.login"));
    link.href = location.href;
    switch (told.state) {
      case "connected":
        connectedOnce = true;
        state.textContent = say("state.connected", { instance: told.instance });
        showUsual();
        break;
      case "connecting":
        state.textContent = say(connectedOnce ? "state.reconnecting" : "state.connecting");
        break;
      case "waiting":
        state.textContent = say("state.down");
        clearTimeout(timer);
        // Most reconnections are over before anybody could read about them.
        if (told.retry_at - Date.now() > 700) showWaiting(told.retry_at);
        else if (banner.hidden) timer = setTimeout(() => show("warn", say("state.disconnected")), 1_500);
        break;
      case "offline":
        state.textContent = say("state.offline");
        show("warn", say("state.offline_long"));
        break;
      case "ended":
        state.textContent = say("state.ended");
        show("error", say(told.cause === "other_user" ? "state.other_user" : "state.ended_long"), " ", link);
        break;
      case "down":
        state.textContent = say("state.down");
        show("error", say("state.down_long"), " ", button(say("state.reconnect"), () => client.connect()));
        break;
      case "closed":
        state.textContent = say("state.closed");
        show("");
    }
    const code = "code" in told ? ` – ${say("events.closed", { code: told.code ?? 0 })}` : "";
    announce.textContent = state.textContent;
    record(`${state.textContent}${code}`);
  });
  client.on("entry", ({ entry }) => {
    const before = delayed.size;
    if (entry.state === "pending" && entry.code === "unavailable") delayed.add(entry.id);
    else if (entry.state !== "pending" || entry.tried === null) delayed.delete(entry.id);
    if (connected && (before > 0) !== delayed.size > 0) showUsual();
  });
  client.on("caught_up", ({ missed }) => {
    if (!missed) return;
    const text = say("state.caught_up", { count: missed });
    record(text);
    showBriefly("good", text);
  });
  client.on("joined", ({ gap }) => {
    if (!gap) return;
    record(say("state.gap"));
    showBriefly("warn", say("state.gap"));
  });
  client.on("refused", ({ code, room: refused }) => {
    const text = refused ? say("room.refused", { room: refused, reason: reason(code, say) }) : reason(code, say);
    record(text);
    if (refused) show("error", text);
  });
  state.addEventListener("click", () => {
    events.hidden = !events.hidden;
    state.ariaExpanded = String(!events.hidden);
    list.scrollTop = list.scrollHeight;
  });

  addEventListener("online", () => client.tell("online"));
  addEventListener("offline", () => client.tell("offline"));
  document.addEventListener("visibilitychange", () => document.hidden || client.tell("visible"));
  if (!navigator.onLine) client.tell("offline");
}

function conversation() {
  const typing = find("typing", HTMLElement);
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  const typists = new Map();
  let resuming = false;
  let live = false;

  /** @param {string} name */
  const stopped = (name) => {
    clearTimeout(typists.get(name));
    typists.delete(name);
    showTypists();
  };
  const showTypists = () => {
    const names = [...typists.keys()];
    typing.textContent = names.length ? say("typing", { names: listed(names, say), count: names.length }) : "";
  };
  client.on("joined", ({ gap, resumed }) => {
    live = false;
    resuming = resumed;
    if (gap) log.gap();
    if (resumed) log.behind();
  });
  client.on("message", ({ message, own }) => {
    stopped(message.user);
    log.add(message, { own, fresh: live || resuming });
  });
  client.on("caught_up", () => {
    live = true;
    log.caughtUp();
  });
  client.on("history", ({ messages, more }) => log.prepend(messages, more));
  client.on("history_failed", () => log.prependFailed());
  client.on("entry", ({ entry }) => log.entry(entry));
  client.on("typing", ({ user: name }) => {
    if (name === user) return;
    clearTimeout(typists.get(name));
    typists.set(name, setTimeout(() => stopped(name), 5_000));
    showTypists();
  });
}

function composer() {
  const form = find("composer", HTMLFormElement);
  const text = find("text", HTMLTextAreaElement);
  const error = find("text-error", HTMLElement);
  // Of this tab, and of this user: logging in again brings it back.
  const draft = `trunkline:draft:${user}:${room}`;
  const grows = CSS.supports("field-sizing", "content");

  const changed = () => {
    if (text.value) sessionStorage.setItem(draft, text.value);
    else sessionStorage.removeItem(draft);
    error.textContent = refusal(text.value) === "too_long" ? say("error.too_long") : "";
    text.ariaInvalid = String(error.textContent !== "");
    if (grows) return;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
  };
  text.value = sessionStorage.getItem(draft) ?? "";
  changed();
  text.addEventListener("input", () => {
    changed();
    if (text.value) client.typing(room);
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
    client.send(room, text.value);
    text.value = "";
    changed();
    text.focus();
  });
  client.on("state", ({ state }) => {
    document.body.dataset.state = state;
    for (const each of form.querySelectorAll("button")) each.disabled = state === "ended";
  });
}

/** Hidden until the server tells who is here. */
function people() {
  const panel = find("people", HTMLElement);
  const heading = find("people-count", HTMLElement);
  const list = find("people-list", HTMLElement);
  const show = find("show-people", HTMLButtonElement);

  client.on("presence", ({ count, here, came, went }) => {
    panel.hidden = show.hidden = false;
    document.body.classList.add("peopled");
    heading.textContent = say("people.count", { count });
    show.textContent = String(count);
    show.ariaLabel = heading.textContent;
    list.replaceChildren(
      ...(here ?? []).map((name) => element("li", `c${colourOf(name)}`, name === user ? say("people.you", { name }) : name)),
    );
    for (const [key, names] of Object.entries({ "people.came": came, "people.went": went })) {
      const others = names.filter((name) => name !== user);
      if (others.length) log.note(say(key, { names: listed(others, say) }));
    }
  });
}

function rooms() {
  const list = find("room-list", HTMLElement);
  const form = find("open-room", HTMLFormElement);
  const name = find("room-name", HTMLInputElement);
  let here = 0;
  /** @type {{room: string, count: number}[]} */
  let others = [];

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.assign(`/rooms/${name.value}`);
  });
  client.on("state", async ({ state }) => {
    if (state !== "connected") return;
    try {
      const response = await fetch("/rooms", { headers: { accept: "application/json" } });
      if (!response.ok) return;
      /** @type {{rooms: {room: string, count: number}[]}} */
      const { rooms: active } = await response.json();
      others = active.filter((each) => each.room !== room);
      draw();
    } catch {
      // The list is a convenience: the page does without it.
    }
  });
  client.on("presence", ({ count }) => {
    // The list is as old as the connection; of one's own room more is known.
    here = count;
    draw();
  });

  function draw() {
    const all = [{ room, count: here }, ...others].sort((a, b) => (a.room < b.room ? -1 : 1));
    list.replaceChildren(...all.map((each) => roomLink(each.room, each.count)));
  }

  /** @param {string} each @param {number} count */
  function roomLink(each, count) {
    const link = element("a", "", each);
    link.href = `/rooms/${each}`;
    if (each === room) link.ariaCurrent = "page";
    return element("li", "", link, " ", element("span", "quiet", count ? String(count) : ""));
  }
}

/** On a phone, rooms and people open above the messages. */
function drawers() {
  const all = ["rooms", "people"].map((id) => ({ drawer: find(id, HTMLElement), opener: find(`show-${id}`, HTMLButtonElement) }));
  /** @param {typeof all[0]} pair @param {boolean} open */
  const set = ({ drawer, opener }, open) => {
    drawer.classList.toggle("open", open);
    opener.ariaExpanded = String(open);
  };
  for (const pair of all) {
    pair.opener.addEventListener("click", () => {
      const open = !pair.drawer.classList.contains("open");
      for (const each of all) set(each, each === pair && open);
      if (open) pair.drawer.querySelector("a")?.focus();
    });
  }
  const close = () => {
    const open = all.find(({ drawer }) => drawer.classList.contains("open"));
    if (!open) return;
    set(open, false);
    open.opener.focus();
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  find("log", HTMLElement).addEventListener("pointerdown", close);
}

/** Only if asked for, only when named, only while nobody looks. */
function notifications() {
  const ask = find("notify", HTMLButtonElement);
  if (!("Notification" in globalThis)) return;
  ask.hidden = Notification.permission !== "default";
  ask.addEventListener("click", async () => {
    ask.hidden = (await Notification.requestPermission()) !== "default";
  });
  let live = false;
  client.on("caught_up", () => { live = true; });
  client.on("message", ({ message, own }) => {
    if (!live || own || !document.hidden || Notification.permission !== "granted" || !mentions(message.text, user)) return;
    const notification = new Notification(say("notify.title", { user: message.user, room }), { body: message.text, tag: message.pos });
    notification.onclick = () => window.focus();
  });
}
