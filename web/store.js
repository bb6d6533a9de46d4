/**
 * Where unsent messages are kept, and which tab may send them.
 *
 * Entries belong to a login, not to a name: a person who logs in later under a name that has become free neither sees nor sends what the
 * person before left behind.
 *
 * Every tab has its own connection, and all tabs share one store, so each stored entry names its owner: one tab's stay in one room. The tab
 * holds a Web Lock of that name for as long as the stay lasts. The browser frees the lock when the tab goes, however it goes, and the tab that
 * gets the lock then takes over the entries. Without Web Locks a tab takes over every entry that it finds: two tabs may then send one entry, of
 * which the server makes one message, since the id is the same.
 */

import { answered, deleteDatabase, keysOutside, keysUnder, keyValueStore, NoAnswer, openDatabase } from "./facilities.js";

/** @typedef {import("./machine.js").Entry} Entry */
/** @typedef {Entry & {owner: string, login: string}} Stored */
/**
 * @typedef {object} Store
 * @property {(login: string, room: string) => Promise<Stored[]>} list
 * @property {(entry: Stored) => Promise<void>} put
 * @property {(entry: Stored) => Promise<void>} delete
 * @property {(login: string) => Promise<void>} drop deletes the entries of a login
 * @property {(login: string) => Promise<void>} retain deletes the entries of every other login
 */

/** For Node, and the last resort of pages: does not survive a reload. @implements {Store} */
export class MemoryStore {
  /** By id: ids are random. @type {Map<string, Stored>} */
  #entries = new Map();

  /** @param {string} login @param {string} room */
  async list(login, room) {
    return [...this.#entries.values()].filter((entry) => entry.login === login && entry.room === room).map((entry) => ({ ...entry }));
  }

  /** @param {Stored} entry */
  async put(entry) {
    this.#entries.set(entry.id, { ...entry });
  }

  /** @param {Stored} entry */
  async delete({ id }) {
    this.#entries.delete(id);
  }

  /** @param {string} login */
  async drop(login) {
    for (const entry of [...this.#entries.values()]) if (entry.login === login) this.#entries.delete(entry.id);
  }

  /** @param {string} login */
  async retain(login) {
    for (const entry of [...this.#entries.values()]) if (entry.login !== login) this.#entries.delete(entry.id);
  }
}

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

  /** @param {(store: Store) => Promise<unknown>} call */
  async #tell(call) {
    // A store that hangs does it when it answers again.
    await Promise.allSettled(this.#stores.map((store) => (this.#hanging.has(store) ? void call(store).catch(() => {}) : this.#ask(store, () => call(store)))));
  }

  /** @param {string} login @param {string} room */
  async list(login, room) {
    /** A later store holds the newer version: the better one had failed. @type {Map<string, Stored>} */
    const found = new Map();
    for (const store of this.#stores) {
      if (this.#hanging.has(store)) continue;
      try {
        for (const entry of (await this.#ask(store, () => store.list(login, room))).flatMap(sound)) found.set(entry.id, entry);
      } catch {
        // The other stores may hold something.
      }
    }
    return [...found.values()];
  }

  /** @param {Stored} entry */
  async put(entry) {
    for (const [index, store] of this.#stores.entries()) {
      if (this.#hanging.has(store)) continue;
      try {
        await this.#ask(store, () => store.put(entry));
        for (const other of this.#stores.slice(index + 1)) void other.delete(entry).catch(() => {});
        return;
      } catch {
        // The next store may take it.
      }
    }
  }

  /** @param {Stored} entry */
  delete(entry) {
    return this.#tell((store) => store.delete(entry));
  }

  /** @param {string} login */
  drop(login) {
    return this.#tell((store) => store.drop(login));
  }

  /** @param {string} login */
  retain(login) {
    return this.#tell((store) => store.retain(login));
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

/** @param {string | null} text @returns {Stored[]} */
function parsed(text) {
  try {
    return sound(JSON.parse(text ?? ""));
  } catch {
    return [];
  }
}

/** The entry, if it is one: stores can hold what this page did not write. @param {any} entry @returns {Stored[]} */
export function sound(entry) {
  const texts = ["login", "owner", "user", "room", "id", "text"].every((field) => typeof entry?.[field] === "string");
  const times = isTime(entry?.at) && (entry.tried === null || isTime(entry.tried));
  return texts && times && ["pending", "failed", "unsure"].includes(entry.state) ? [entry] : [];
}

/** @param {unknown} at */
function isTime(at) {
  return typeof at === "number" && Math.abs(at) <= 8.64e15; // the range of dates
}

/** @typedef {{owner: string, held: Promise<unknown>, over: AbortController, claims: Promise<void>, awaited: Set<string>}} Stay */

/**
 * One tab's share of a store.
 * @param {Store} store @param {Pick<LockManager, "request"> | undefined} locks @param {string} tab a name that no other tab has
 * @param {string | null} [login] whose entries these are; the user's name if left out
 */
export function outbox(store, locks, tab, login = null) {
  let stays = 0;
  /** The last write; all of them happen one after another. @type {Promise<unknown>} */
  let written = Promise.resolve();
  /** By room. @type {Map<string, Stay>} */
  const rooms = new Map();
  /** After `drop`, nothing is kept any more. */
  let dropped = false;

  /**
   * Takes over the entries whose owners are gone, and those of other owners when they go.
   * @param {string} user
   * @param {string} room
   * @param {(entries: Entry[]) => void} taken called once with what is there now (perhaps nothing), and later with more
   */
  function claim(user, room, taken) {
    const stay = stayIn(room);
    // One after another: a second claim must not bring back what the first one took and the server has meanwhile.
    stay.claims = stay.claims.then(() => claimAs(login ?? user, room, stay, taken));
    return stay.claims;
  }

  /** @param {string} key @param {string} room @param {Stay} stay @param {(entries: Entry[]) => void} taken */
  async function claimAs(key, room, stay, taken) {
    /** @type {Entry[]} */
    const orphans = [];
    try {
      await stay.held;
      const found = (await store.list(key, room)).map((entry) => entry.owner);
      const owners = new Set(found.filter((owner) => owner !== stay.owner && !stay.awaited.has(owner)));
      for (const owner of owners) {
        const take = async () => {
          const left = (await store.list(key, room)).filter((entry) => entry.owner === owner);
          for (const entry of left) await store.put({ ...entry, owner: stay.owner });
          return left.map(({ owner: _, login: __, ...entry }) => entry);
        };
        if (await isFree(owner, async () => void orphans.push(...(await take())))) continue;
        stay.awaited.add(owner);
        void whenFree(owner, stay, async () => taken(await take()));
      }
    } catch (error) {
      console.warn("trunkline: the outbox cannot be read", error);
    }
    taken(orphans); // without a store there is still a chat
  }

  /** Runs `take` under the owner's lock. @param {string} owner @param {() => Promise<void>} take @returns {Promise<boolean>} false: another tab holds it */
  async function isFree(owner, take) {
    if (locks) {
      const manager = locks;
      try {
        let done = Promise.resolve();
        // The time limit is for the lock, not for what happens under it.
        const free = await answered(() => new Promise((resolve, reject) => {
          manager.request(owner, { ifAvailable: true }, (lock) => {
            if (lock) done = take();
            resolve(lock !== null);
            return done;
          }).catch(reject);
        }));
        await done;
        return free;
      } catch {
        withoutLocks();
      }
    }
    await take();
    return true;
  }

  /** @param {string} owner @param {Stay} stay @param {() => Promise<void>} take */
  async function whenFree(owner, stay, take) {
    try {
      await locks?.request(owner, { signal: stay.over.signal }, take);
    } catch {
      // The room was left before, or the browser's locks have failed.
    } finally {
      stay.awaited.delete(owner);
    }
  }

  function withoutLocks() {
    if (locks) console.warn("trunkline: the browser's locks do not answer; every tab takes over the entries that it finds");
    locks = undefined;
  }

  /** @param {Entry} entry */
  function save(entry) {
    if (dropped) return;
    const done = entry.state === "sent" || entry.state === "discarded";
    const stored = { ...entry, owner: stayIn(entry.room).owner, login: login ?? entry.user };
    written = written
      .then(() => (done || dropped ? store.delete(stored) : store.put(stored)))
      .catch((error) => console.warn("trunkline: the outbox cannot be stored", error));
  }

  /** What this tab holds of the room is free for others, once it is stored. @param {string} room */
  function leave(room) {
    const stay = rooms.get(room);
    rooms.delete(room);
    if (stay) void written.then(() => stay.over.abort());
  }

  /** Deletes what this login has not sent, from now on too. @param {string} user */
  async function drop(user) {
    dropped = true;
    await written;
    await store.drop(login ?? user);
  }

  /** @param {string} room */
  function stayIn(room) {
    let stay = rooms.get(room);
    if (!stay) {
      const owner = `trunkline:${tab}:${++stays}`;
      const over = new AbortController();
      const gone = new Promise((resolve) => over.signal.addEventListener("abort", resolve));
      const manager = locks;
      const held = manager
        ? answered(() => new Promise((resolve, reject) => {
          manager.request(owner, () => (resolve(null), gone)).catch(reject);
        })).catch(withoutLocks)
        : Promise.resolve();
      stay = { owner, held, over, claims: Promise.resolve(), awaited: new Set() };
      rooms.set(room, stay);
    }
    return stay;
  }

  return {
    claim, save, leave, drop,
    /** Settles when everything saved so far is stored, or known not to be. */
    get written() { return written; },
  };
}
