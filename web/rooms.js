/** Which rooms a person has opened in this browser, and how far each was read. All tabs share it. */

/** With more than these, the one that was opened longest ago is forgotten. */
export const ROOMS_MOST = 20;

export class Opened {
  #storage;
  /** What it is stored under. */
  key;

  /** @param {Pick<Storage, "getItem" | "setItem">} storage @param {string} user */
  constructor(storage, user) {
    this.#storage = storage;
    this.key = `trunkline:rooms:${user}`;
  }

  /** The room opened last comes first; `read` is the position of the last message seen there, or empty. @returns {[room: string, read: string][]} */
  get list() {
    try {
      return JSON.parse(this.#storage.getItem(this.key) ?? "[]");
    } catch {
      return [];
    }
  }

  /** @param {string} room */
  open(room) {
    const list = this.list;
    this.#set([list.find(([each]) => each === room) ?? [room, ""], ...list.filter(([each]) => each !== room)]);
  }

  /** @param {string} room */
  leave(room) {
    this.#set(this.list.filter(([each]) => each !== room));
  }

  /** @param {string} room @param {string} position */
  read(room, position) {
    this.#set(this.list.map(([each, read]) => [each, each === room ? position : read]));
  }

  /** @param {[string, string][]} list */
  #set(list) {
    this.#storage.setItem(this.key, JSON.stringify(list.slice(0, ROOMS_MOST)));
  }
}
