// Broken facilities of a browser, for the tests of this folder.

/** A Map behind the interface of `Storage`. */
export function memoryStorage(items = new Map()) {
  return {
    get length() { return items.size; },
    key: (index) => [...items.keys()][index] ?? null,
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, String(value)),
    removeItem: (key) => void items.delete(key),
    items,
  };
}

/** Defines a global for the duration of one test. `value` may be a property descriptor. */
export function withGlobal(context, name, value) {
  const before = Object.getOwnPropertyDescriptor(globalThis, name);
  const descriptor = value && "get" in value && Object.keys(value).length === 1 ? value : { value };
  Object.defineProperty(globalThis, name, { configurable: true, ...descriptor });
  context.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
}

export const fails = () => { throw new DOMException("The operation is insecure.", "SecurityError"); };
export const isFull = () => { throw new DOMException("The quota has been exceeded.", "QuotaExceededError"); };
export const never = () => new Promise(() => {});

/** As much of IndexedDB as the page uses, in memory. `state.closed` counts the times that the browser closed the database. */
export function fakeIndexedDb() {
  const data = new Map();
  const state = { opened: 0, databases: [], breaks: 0, hangs: false, stores: new Set(["entries"]) };
  const settle = (request, result) => queueMicrotask(() => { request.result = result; request.onsuccess?.(); });
  const keyOf = ({ login, room, id }) => JSON.stringify([login, room, id]);
  const under = (prefix) => [...data.keys()].filter((key) => JSON.parse(key).slice(0, prefix.length).every((part, index) => part === prefix[index]));
  const store = {
    put: (entry) => ({ act: () => void data.set(keyOf(entry), structuredClone(entry)) }),
    delete: (key) => ({ act: () => { for (const each of Array.isArray(key) ? [JSON.stringify(key)] : key.keys()) data.delete(each); } }),
    getAll: ({ keys }) => ({ act: () => keys().map((key) => structuredClone(data.get(key))) }),
  };
  const database = () => {
    const made = {
      open: true,
      objectStoreNames: [],
      close: () => { made.open = false; },
      createObjectStore: (name) => state.stores.add(name),
      deleteObjectStore: () => {},
      transaction: () => {
        if (state.breaks > 0) {
          state.breaks -= 1;
          made.open = false;
        }
        if (!made.open) throw new DOMException("The database connection is closing.", "InvalidStateError");
        if (!state.stores.has("entries")) throw new DOMException("No such object store.", "NotFoundError");
        const transaction = {
          objectStore: () => new Proxy(store, {
            get: (target, name) => (...args) => {
              const request = target[name](...args);
              if (!state.hangs) queueMicrotask(() => { request.result = request.act(); transaction.oncomplete?.(); });
              return request;
            },
          }),
        };
        return transaction;
      },
    };
    state.databases.push(made);
    return made;
  };
  const indexedDB = {
    open: () => {
      const request = {};
      state.opened += 1;
      if (!state.hangs) settle(request, database());
      return request;
    },
    deleteDatabase: () => {
      const request = {};
      state.stores.add("entries");
      settle(request, undefined);
      return request;
    },
  };
  const IDBKeyRange = {
    bound: (prefix) => ({ keys: () => under(prefix) }),
    upperBound: (prefix) => ({ keys: () => [...data.keys()].filter((key) => !under(prefix).includes(key)) }),
    lowerBound: () => ({ keys: () => [] }),
  };
  return { indexedDB, IDBKeyRange, state, data };
}

export const entry = (id, more = {}) => ({ user: "ann", login: "a1", owner: "tab", room: "lobby", id, text: id, at: 1, tried: null, state: "pending", ...more });
export const ids = (entries) => entries.map(({ id }) => id).sort();
