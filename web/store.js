/**
 * Where the outbox lives while nobody looks: stores for entries, and who may send which.
 *
 * Every tab has its own connection, and all share one store, so each stored entry names its owner: a tab's stay in a room. The tab holds
 * a Web Lock of that name for as long as the stay lasts; the lock falls when the tab goes, however it goes, and whoever gets the lock
 * then takes over what it left behind. Without Web Locks (they need https or localhost) a tab takes over everything that it finds:
 * two tabs may then send one entry, which the server makes one message of, since the id is the same.
 */

/** @typedef {import("./machine.js").Entry} Entry */
/** @typedef {Entry & {owner: string}} Stored */
/**
 * @typedef {object} Store
 * @property {(user: string, room: string) => Promise<Stored[]>} list
 * @property {(entry: Stored) => Promise<void>} put
 * @property {(entry: Entry) => Promise<void>} delete
 */

/** For Node, and for pages that may not store anything. @implements {Store} */
export class MemoryStore {
  /** By id: ours are random. @type {Map<string, Stored>} */
  #entries = new Map();

  /** @param {string} user @param {string} room */
  async list(user, room) {
    return [...this.#entries.values()].filter((entry) => entry.user === user && entry.room === room).map((entry) => ({ ...entry }));
  }

  /** @param {Stored} entry */
  async put(entry) {
    this.#entries.set(entry.id, { ...entry });
  }

  /** @param {Entry} entry */
  async delete({ id }) {
    this.#entries.delete(id);
  }
}

/** Survives reloads and crashes of the browser. @implements {Store} */
export class IndexedDbStore {
  /** @type {Promise<IDBDatabase>} */
  #database;

  constructor(name = "trunkline") {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("outbox", { keyPath: ["user", "room", "id"] });
    this.#database = settled(opening);
    this.#database.catch(() => {}); // told to whoever uses it
  }

  /** @param {IDBTransactionMode} mode */
  async #outbox(mode) {
    return (await this.#database).transaction("outbox", mode).objectStore("outbox");
  }

  /** @param {string} user @param {string} room @returns {Promise<Stored[]>} */
  async list(user, room) {
    const outbox = await this.#outbox("readonly");
    return settled(outbox.getAll(IDBKeyRange.bound([user, room], [user, room, []])));
  }

  /** @param {Stored} entry */
  async put(entry) {
    await settled((await this.#outbox("readwrite")).put(entry));
  }

  /** @param {Entry} entry */
  async delete({ user, room, id }) {
    await settled((await this.#outbox("readwrite")).delete([user, room, id]));
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @typedef {{owner: string, held: Promise<unknown>, over: AbortController, claims: Promise<void>, awaited: Set<string>}} Stay */

/**
 * One tab's share of a store.
 * @param {Store} store @param {Pick<LockManager, "request"> | undefined} locks @param {string} tab a name that no other tab has
 */
export function outbox(store, locks, tab) {
  let stays = 0;
  /** The last write; all of them happen one after another. @type {Promise<unknown>} */
  let written = Promise.resolve();
  /** By room. @type {Map<string, Stay>} */
  const rooms = new Map();

  /**
   * Takes over the entries that nobody alive owns, and goes on to do so whenever another owner goes.
   * @param {string} user
   * @param {string} room
   * @param {(entries: Entry[]) => void} taken called once for what is there now (perhaps nothing), and later for more
   */
  function claim(user, room, taken) {
    const stay = stayIn(room);
    // One after another, lest the second brings back what the first took and the server has meanwhile.
    stay.claims = stay.claims.then(() => claimAs(user, room, stay, taken));
    return stay.claims;
  }

  /** @param {string} user @param {string} room @param {Stay} stay @param {(entries: Entry[]) => void} taken */
  async function claimAs(user, room, stay, taken) {
    try {
      await stay.held;
      const found = (await store.list(user, room)).map((entry) => entry.owner);
      const owners = new Set(found.filter((owner) => owner !== stay.owner && !stay.awaited.has(owner)));
      /** @type {Entry[]} */
      const orphans = [];
      for (const owner of owners) {
        // Under the owner's lock.
        const take = async () => {
          const left = (await store.list(user, room)).filter((entry) => entry.owner === owner);
          for (const entry of left) await store.put({ ...entry, owner: stay.owner });
          return left.map(({ owner: _, ...entry }) => entry);
        };
        if (!locks) {
          orphans.push(...(await take()));
          continue;
        }
        const free = await locks.request(owner, { ifAvailable: true }, async (lock) => lock && orphans.push(...(await take())));
        if (free !== null) continue;
        stay.awaited.add(owner);
        locks
          .request(owner, { signal: stay.over.signal }, async () => taken(await take()))
          .catch(() => {}) // we left first
          .finally(() => stay.awaited.delete(owner));
      }
      taken(orphans);
    } catch (error) {
      console.warn("trunkline: the outbox cannot be read", error);
      taken([]); // without a store there is still a chat
    }
  }

  /** @param {Entry} entry */
  function save(entry) {
    const done = entry.state === "sent" || entry.state === "discarded";
    const stored = { ...entry, owner: stayIn(entry.room).owner };
    written = written
      .then(() => (done ? store.delete(entry) : store.put(stored)))
      .catch((error) => console.warn("trunkline: the outbox cannot be stored", error));
  }

  /** What this tab holds of the room is free for others, once it is stored. @param {string} room */
  function leave(room) {
    const stay = rooms.get(room);
    rooms.delete(room);
    if (stay) void written.then(() => stay.over.abort());
  }

  /** @param {string} room */
  function stayIn(room) {
    let stay = rooms.get(room);
    if (!stay) {
      const owner = `trunkline:${tab}:${++stays}`;
      const over = new AbortController();
      const gone = new Promise((resolve) => over.signal.addEventListener("abort", resolve));
      const held = new Promise((granted) => {
        if (locks) void locks.request(owner, () => (granted(null), gone));
        else granted(null);
      });
      stay = { owner, held, over, claims: Promise.resolve(), awaited: new Set() };
      rooms.set(room, stay);
    }
    return stay;
  }

  return {
    claim, save, leave,
    /** Settled when everything saved so far is stored. */
    get written() { return written; },
  };
}
