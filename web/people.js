/** The users in the rooms: display names, typing, arrivals and departures. */

import { coloured, find } from "./dom.js";
import { listed } from "./render.js";
import { mentions } from "./text.js";

/** Time in ms for which a `typing` frame is shown. */
const TYPING_SHOWN = 5_000;
/** Number of display names that are remembered; beyond it, the one that was learned first is forgotten. */
const NAMES_MOST = 2_000;

/** @typedef {import("./effects.js").Person} Person */
/**
 * What is known about the people of a room. `typists` are writing now; `users` is null where only the number of people is known, `state` is null before that.
 * @typedef {{typists: Map<string, ReturnType<typeof setTimeout>>, state: {count: number, users: Person[] | null} | null}} People
 */

/**
 * @param {object} page
 * @param {string} page.user the reader
 * @param {ReturnType<typeof import("./render.js").speaker>} page.say
 * @param {Intl.Collator} page.collator
 * @param {import("./trunkline.js").Client} page.client
 * @param {(room: string) => {people: People, count: HTMLElement, log: {note: (text: string) => void}} | undefined} page.roomOf an open room
 * @param {() => People} page.shown those of the room that is shown
 */
export function people({ user, say, collator, client, roomOf, shown }) {
  /** By user id. @type {Map<string, string>} */
  const names = new Map();
  const nameOf = (/** @type {string} */ id) => names.get(id) ?? id;

  /** @param {Person} person */
  function learn({ user: id, name }) {
    names.delete(id);
    if (name === undefined) return;
    names.set(id, name);
    if (names.size > NAMES_MOST) for (const first of names.keys()) { names.delete(first); break; }
  }

  function showTypists() {
    const typing = [...shown().typists.keys()].map(nameOf);
    find("typing").textContent = typing.length ? say("typing", { names: listed(typing, say), count: typing.length }) : "";
  }

  /** @param {People} people @param {string} id */
  function stopTyping({ typists }, id) {
    clearTimeout(typists.get(id));
    typists.delete(id);
    showTypists();
  }

  /** Shows the people of the room that is shown. Hidden until the server names them. */
  function showPeople() {
    const { state } = shown();
    const opener = find("show-people");
    find("people").hidden = opener.hidden = !state;
    if (!state) return;
    const heading = say("people.count", { count: state.count });
    find("people-count").textContent = opener.ariaLabel = heading;
    opener.textContent = String(state.count);
    const inOrder = [...(state.users ?? [])].sort((a, b) => collator.compare(a.name ?? a.user, b.name ?? b.user));
    find("people-list").replaceChildren(...inOrder.map(({ user: id, name = id }) => {
      const item = coloured("li", "", id, id === user ? say("people.you", { name }) : name);
      if (name !== id) item.title = id;
      return item;
    }));
  }

  client.on("state", (effect) => {
    if (effect.state !== "connected") return;
    learn(effect);
    find("user").textContent = nameOf(user);
  });
  client.on("message", ({ message }) => learn(message));
  client.on("history", ({ messages }) => messages.filter(({ user: id }) => !names.has(id)).forEach(learn));
  client.on("typing", ({ room, user: typist }) => {
    const found = roomOf(room);
    if (!found || typist === user) return;
    const { people } = found;
    clearTimeout(people.typists.get(typist));
    people.typists.set(typist, setTimeout(() => stopTyping(people, typist), TYPING_SHOWN));
    showTypists();
  });
  client.on("presence", ({ room, count, users, joined, left }) => {
    const found = roomOf(room);
    if (!found) return;
    for (const person of [...(users ?? []), ...joined]) learn(person);
    found.people.state = { count, users };
    found.count.textContent = String(count);
    for (const [key, moved] of /** @type {const} */ ([["people.came", joined], ["people.went", left]])) {
      const others = moved.filter((person) => person.user !== user).map(({ user: id, name }) => name ?? nameOf(id));
      if (others.length) found.log.note(say(key, { names: listed(others, say) }));
    }
    showPeople();
  });

  return {
    nameOf, stopTyping,
    /** Whether a text mentions the reader, by id or by display name. @param {string} text */
    isNamed: (text) => [...new Set([user, nameOf(user)])].some((name) => mentions(text, name)),
    /** Shows the users and the typing users of the current room. */
    show() {
      showPeople();
      showTypists();
    },
  };
}
