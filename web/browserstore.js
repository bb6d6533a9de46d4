/** Stores for unsent messages in a browser: the database, simpler storage, and memory, each used where the one before it fails. */

import { answered, deleteDatabase, keysOutside, keysUnder, keyValueStore, NoAnswer, openDatabase } from "./facilities.js";
import { MemoryStore } from "./store.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./store.js").Stored} Stored */

/** In `localStorage`: for browsers whose IndexedDB fails. @implements {Store} */
export class KeyValueEntries {
  #storage;
  #prefix = "trunkline:unsent:";

  constructor(storage = keyValueStore("localStorage")) {
    this.#storage = storage;
  }

  /** @param {string} login @param {string} room */
  async list(login, room) {
    const prefix = `${this.#prefix}${login}:${room}:`;
    return this.#storage.keys().filter((key) => key.startsWith(prefix)).flatMap((key) => parsed(this.#storage.getItem(key)));
  }

  /** @param {Stored} entry */
  async put(entry) {
    if (!this.#storage.persist(this.#key(entry), JSON.stringify(entry))) throw new Error("localStorage does not take values");
  }

  /** @param {Stored} entry */
  async delete(entry) {
    this.#storage.removeItem(this.#key(entry));
  }

  /** @param {string} login */
  async drop(login) {
    for (const key of this.#storage.keys()) if (key.startsWith(`${this.#prefix}${login}:`)) this.#storage.removeItem(key);
  }

  /** @param {string} login */
  async retain(login) {
    const mine = `${this.#prefix}${login}:`;
    for (const key of this.#storage.keys()) if (key.startsWith(this.#prefix) && !key.startsWith(mine)) this.#storage.removeItem(key);
  }

  /** Whether the storage takes values now. */
  works() {
    const works = this.#storage.persist("trunkline:probe", "1");
    this.#storage.removeItem("trunkline:probe");
    return works;
  }

  /** @param {Stored} entry */
  #key({ login, room, id }) {
    return `${this.#prefix}${login}:${room}:${id}`;
  }
}

/** In IndexedDB. A database that the browser has closed is opened again. @implements {Store} */
export class IndexedDbStore {
  #name;
  /** @type {Promise<IDBDatabase> | null} */
  #database = null;

  constructor(name = "trunkline") {
    this.#name = name;
  }

  #open() {
    this.#database ??= openDatabase(this.#name, 2, (database) => {
      // Version 1 kept entries by user name.
      for (const old of [...database.objectStoreNames]) database.deleteObjectStore(old);
      database.createObjectStore("entries", { keyPath: ["login", "room", "id"] });
    }).then((database) => {
      const closed = () => { this.#database = null; };
      database.onclose = closed;
      database.onversionchange = () => {
        database.close();
        closed();
      };
      return database;
    });
    return this.#database;
  }

  /**
   * @template T
   * @param {IDBTransactionMode} mode @param {(entries: IDBObjectStore) => IDBRequest<T>} act
   * @returns {Promise<T>}
   */
  async #run(mode, act) {
    const opened = this.#open();
    try {
      return await committed((await opened).transaction("entries", mode), act);
    } catch (error) {
      // The browser closes databases for reasons of its own, and some of its copies are damaged: a second attempt starts from the beginning.
      if (this.#database === opened) this.#database = null;
      opened.then((database) => database.close()).catch(() => {});
      if (nameOf(error) === "NotFoundError") await deleteDatabase(this.#name); // a database without our object store
      return await committed((await this.#open()).transaction("entries", mode), act);
    }
  }

  /** @param {string} login @param {string} room @returns {Promise<Stored[]>} */
  list(login, room) {
    return this.#run("readonly", (entries) => entries.getAll(keysUnder(login, room)));
  }

  /** @param {Stored} entry */
  async put(entry) {
    await this.#run("readwrite", (entries) => entries.put(entry));
  }

  /** @param {Stored} entry */
  async delete({ login, room, id }) {
    await this.#run("readwrite", (entries) => entries.delete([login, room, id]));
  }

  /** @param {string} login */
  async drop(login) {
    await this.#run("readwrite", (entries) => entries.delete(keysUnder(login)));
  }

  /** @param {string} login */
  async retain(login) {
    for (const others of keysOutside(login)) await this.#run("readwrite", (entries) => entries.delete(others));
  }
}

/** @param {unknown} error */
function nameOf(error) {
  return /** @type {{name?: string} | null} */ (error)?.name;
}

/** @template T @param {IDBTransaction} transaction @param {(entries: IDBObjectStore) => IDBRequest<T>} act @returns {Promise<T>} settles when it is written */
function committed(transaction, act) {
  return new Promise((resolve, reject) => {
    const request = act(transaction.objectStore("entries"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? request.error ?? new Error("aborted"));
  });
}

/**
 * Several stores, best first. An entry is kept in the first store that takes it, within `ANSWER_TIMEOUT_MS`; what the others hold is found and
 * deleted all the same. No method rejects.
 * @implements {Store}
 */
export class FallbackStore {
  #stores;
  #failed;
  /** Stores that owe an answer: not asked again before they have given it. @type {Set<Store>} */
  #hanging = new Set();
  /** The stores that hold an entry, or may hold it, by id. @type {Map<string, Set<Store>>} */
  #holders = new Map();

  /** @param {Store[]} stores the last of them cannot fail @param {(place: number) => void} [failed] called with the place of a store that failed */
  constructor(stores, failed = () => {}) {
    this.#stores = stores;
    this.#failed = failed;
  }

  /** @template T @param {Store} store @param {() => Promise<T>} call @returns {Promise<T>} */
  #ask(store, call) {
    const answer = Promise.resolve().then(call);
    return answered(() => answer).catch((error) => {
      console.warn("trunkline: a store of unsent messages failed", error);
      this.#failed(this.#stores.indexOf(store));
      if (error instanceof NoAnswer) {
        this.#hanging.add(store);
        answer.finally(() => this.#hanging.delete(store)).catch(() => {});
      }
      throw error;
    });
  }

  /** @param {string} id @param {Store} store */
  #holds(id, store) {
    this.#holders.set(id, (this.#holders.get(id) ?? new Set()).add(store));
  }

  /** @param {(store: Store) => Promise<unknown>} call @returns {Promise<boolean[]>} which stores have done it; one that hangs does it when it answers again */
  async #tell(call) {
    const done = this.#stores.map((store) => {
      if (!this.#hanging.has(store)) return this.#ask(store, () => call(store));
      void call(store).catch(() => {});
      return Promise.reject(new NoAnswer("still hanging"));
    });
    return (await Promise.allSettled(done)).map(({ status }) => status === "fulfilled");
  }

  /** @param {string} login @param {string} room */
  async list(login, room) {
    /** A later store holds the newer version: the better one had failed. @type {Map<string, Stored>} */
    const found = new Map();
    let all = true;
    for (const store of this.#stores) {
      try {
        if (this.#hanging.has(store)) throw new NoAnswer("still hanging");
        for (const entry of (await this.#ask(store, () => store.list(login, room))).filter(isStored)) {
          found.set(entry.id, entry);
          this.#holds(entry.id, store);
        }
      } catch {
        all = false; // the other stores may hold something
      }
    }
    const entries = [...found.values()];
    // A mark has done its duty once every store can delete the entry.
    for (const mark of entries) if (all && mark.state === "sent") void this.delete(mark);
    return entries.filter(({ state }) => state !== "sent");
  }

  /** @param {Stored} entry */
  async put(entry) {
    for (const [index, store] of this.#stores.entries()) {
      if (this.#hanging.has(store)) continue;
      try {
        await this.#ask(store, () => store.put(entry));
        this.#holds(entry.id, store);
        for (const other of this.#stores.slice(index + 1)) void other.delete(entry).catch(() => {});
        return;
      } catch (error) {
        if (error instanceof NoAnswer) this.#holds(entry.id, store);
      }
    }
  }

  /** @param {Stored} entry */
  async delete(entry) {
    const done = await this.#tell((store) => store.delete(entry));
    const held = this.#stores.findIndex((store, index) => !done[index] && this.#holders.get(entry.id)?.has(store));
    if (held < 0) return void this.#holders.delete(entry.id);
    // A later page could find the entry in that store and send it again: a mark in the next store hides it.
    const next = this.#stores.slice(held + 1).find((store) => !this.#hanging.has(store));
    if (next) await this.#ask(next, () => next.put({ ...entry, state: "sent" })).catch(() => {});
  }

  /** @param {string} login */
  async drop(login) {
    await this.#tell((store) => store.drop(login));
  }

  /** @param {string} login */
  async retain(login) {
    await this.#tell((store) => store.retain(login));
  }
}

/**
 * What a page keeps entries in.
 * @param {(kept: boolean) => void} [fallenBack] called when the database fails; `kept`: other storage works, so that entries survive a reload
 */
export function browserStore(fallenBack = () => {}) {
  const other = new KeyValueEntries();
  return new FallbackStore([new IndexedDbStore(), other, new MemoryStore()], () => fallenBack(other.works()));
}

/** @param {string | null} text @returns {Stored[]} the entry in the text, if it is one */
function parsed(text) {
  try {
    const entry = JSON.parse(text ?? "");
    return isStored(entry) ? [entry] : [];
  } catch {
    return [];
  }
}

/** Whether this is an entry, or a mark that it was sent: stores can hold what this page did not write. @param {any} entry @returns {entry is Stored} */
export function isStored(entry) {
  const texts = ["login", "owner", "user", "room", "id", "text"].every((field) => typeof entry?.[field] === "string");
  const times = isTime(entry?.at) && (entry.tried === null || isTime(entry.tried));
  return texts && times && ["pending", "failed", "unsure", "sent"].includes(entry.state);
}

/** @param {unknown} at */
function isTime(at) {
  return typeof at === "number" && Math.abs(at) <= 8.64e15; // the range of dates
}
