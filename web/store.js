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

import { answered } from "./facilities.js";

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
