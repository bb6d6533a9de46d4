// Unsent messages in stores that hang, throw, are full, are closed or hold what this page did not write; and locks that do not answer.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { browserStore, FallbackStore, IndexedDbStore, isStored, KeyValueEntries } from "../../browserstore.js";
import { MemoryStore, outbox } from "../../store.js";
import { Client } from "../../trunkline.js";
import { entry, fails, fakeIndexedDb, ids, isFull, memoryStorage, never, withGlobal } from "./fakes.js";

beforeEach((context) => context.mock?.method?.(console, "warn", () => {}));
console.warn = () => {};

const hanging = () => ({ list: never, put: never, delete: never, drop: never, retain: never });
const throwing = () => ({ list: fails, put: fails, delete: fails, drop: fails, retain: fails });

for (const [how, broken] of [["hangs", hanging], ["throws", throwing]]) {
  test(`a store that ${how} is replaced by the next one`, async () => {
    const failed = new Set();
    const store = new FallbackStore([broken(), new MemoryStore()], (place) => failed.add(place));
    const start = performance.now();
    await store.put(entry("a"));
    await store.put(entry("b"));
    assert.deepEqual(ids(await store.list("a1", "lobby")), ["a", "b"]);
    await store.delete(entry("a"));
    assert.deepEqual(ids(await store.list("a1", "lobby")), ["b"]);
    await store.drop("a1");
    assert.deepEqual(await store.list("a1", "lobby"), []);
    assert.deepEqual([...failed], [0]);
    assert.ok(performance.now() - start < 3_000, "a store that hangs is waited for once");
  });
}

test("a store that hangs at first and answers later is used again, and has missed no deletion", async () => {
  let release;
  const gate = new Promise((resolve) => { release = resolve; });
  const inner = new MemoryStore();
  const slow = Object.fromEntries(["list", "put", "delete", "drop", "retain"].map((name) => [name, async (...args) => (await gate, inner[name](...args))]));
  const store = new FallbackStore([slow, new MemoryStore()]);
  await store.put(entry("a"));
  await store.delete(entry("a"));
  release();
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(await inner.list("a1", "lobby"), [], "the late put is followed by the deletion");
  await store.put(entry("b"));
  assert.deepEqual(ids(await inner.list("a1", "lobby")), ["b"]);
});

test("a message that was sent while the database hung is not found by the next page", async (context) => {
  const { indexedDB, IDBKeyRange, state } = fakeIndexedDb();
  withGlobal(context, "indexedDB", indexedDB);
  withGlobal(context, "IDBKeyRange", IDBKeyRange);
  withGlobal(context, "localStorage", memoryStorage());
  const page = browserStore();
  await page.put(entry("a"));
  state.hangs = true;
  await page.put(entry("a", { tried: 5 }));
  await page.delete(entry("a", { state: "sent" }));
  state.hangs = false;
  const next = browserStore();
  assert.deepEqual(await next.list("a1", "lobby"), []);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual([await new IndexedDbStore().list("a1", "lobby"), await new KeyValueEntries().list("a1", "lobby")], [[], []], "the mark goes with the entry");
});

test("where the database never works, sent messages leave nothing behind", async (context) => {
  const storage = memoryStorage();
  withGlobal(context, "indexedDB", undefined);
  withGlobal(context, "localStorage", storage);
  const page = browserStore();
  for (const id of ["a", "b"]) {
    await page.put(entry(id));
    await page.delete(entry(id, { state: "sent" }));
    await page.list("a1", "lobby");
  }
  assert.deepEqual([...storage.items.keys()], []);
});

test("a database that the browser closes is opened again", async (context) => {
  const { indexedDB, IDBKeyRange, state } = fakeIndexedDb();
  withGlobal(context, "indexedDB", indexedDB);
  withGlobal(context, "IDBKeyRange", IDBKeyRange);
  const store = new IndexedDbStore();
  await store.put(entry("a"));
  state.databases[0].close(); // without an event
  await store.put(entry("b"));
  state.databases.at(-1).close();
  state.databases.at(-1).onclose();
  assert.deepEqual(ids(await store.list("a1", "lobby")), ["a", "b"]);
  state.breaks = 1;
  await store.delete(entry("a"));
  assert.deepEqual(ids(await store.list("a1", "lobby")), ["b"]);
});

test("a damaged database is replaced by a new one", async (context) => {
  const { indexedDB, IDBKeyRange, state } = fakeIndexedDb();
  withGlobal(context, "indexedDB", indexedDB);
  withGlobal(context, "IDBKeyRange", IDBKeyRange);
  state.stores.clear();
  const store = new IndexedDbStore();
  await store.put(entry("a"));
  assert.deepEqual(ids(await store.list("a1", "lobby")), ["a"]);
});

test("messages written after the database has failed permanently survive a reload in other storage", async (context) => {
  const { indexedDB, IDBKeyRange, state } = fakeIndexedDb();
  const storage = memoryStorage();
  withGlobal(context, "indexedDB", indexedDB);
  withGlobal(context, "IDBKeyRange", IDBKeyRange);
  withGlobal(context, "localStorage", storage);
  const said = [];
  const store = browserStore((kept) => said.push(kept));
  await store.put(entry("a"));
  state.breaks = Infinity;
  await store.put(entry("b"));
  await store.put(entry("a", { tried: 5 }));
  assert.deepEqual([...new Set(said)], [true]);
  state.breaks = 0;
  const next = browserStore();
  const found = await next.list("a1", "lobby");
  assert.deepEqual(ids(found), ["a", "b"]);
  assert.equal(found.find(({ id }) => id === "a").tried, 5, "the newer version counts");
  await next.delete(entry("a"));
  await next.delete(entry("b"));
  assert.deepEqual(await browserStore().list("a1", "lobby"), []);
  assert.equal(storage.items.size, 0);
});

for (const [how, indexedDB, localStorage] of [
  ["absent", undefined, undefined],
  ["forbidden", { get: fails }, { get: fails }],
  ["full", { open: fails }, { ...memoryStorage(), setItem: isFull, length: 0 }],
]) {
  test(`where all storage is ${how}, messages are kept in memory and the page is notified`, async (context) => {
    withGlobal(context, "indexedDB", indexedDB);
    withGlobal(context, "localStorage", localStorage);
    const said = [];
    const store = browserStore((kept) => said.push(kept));
    await store.put(entry("a"));
    assert.deepEqual(ids(await store.list("a1", "lobby")), ["a"]);
    assert.deepEqual([...new Set(said)], [false]);
  });
}

test("a store with foreign content yields only valid entries", async () => {
  for (const wrong of [null, 7, {}, entry("x", { text: null }), entry("x", { at: "now" }), entry("x", { at: 1e300 }), entry("x", { tried: undefined }), entry("x", { state: "gone" }), entry(7)]) {
    assert.ok(!isStored(wrong));
  }
  const store = new FallbackStore([{ ...new MemoryStore(), list: async () => [null, entry("a"), { id: 7 }] }, new MemoryStore()]);
  assert.deepEqual(ids(await store.list("a1", "lobby")), ["a"]);
});

for (const [how, request] of [["never answer", never], ["throw", fails], ["reject", async () => fails()]]) {
  test(`locks that ${how} do not keep messages from being loaded or sent`, async () => {
    const store = new MemoryStore();
    await store.put(entry("old", { owner: "gone" }));
    const mine = outbox(store, { request }, "1", "a1");
    const taken = [];
    await mine.claim("ann", "lobby", (entries) => taken.push(...ids(entries)));
    assert.deepEqual(taken, ["old"]);
    mine.save(entry("new"));
    await mine.written;
    assert.deepEqual(ids(await store.list("a1", "lobby")), ["new", "old"]);
  });
}

test("a client sends although nothing of the browser's storage or locks answers", async (context) => {
  const sent = [];
  let socket;
  const client = new Client({
    url: "http://chat.test",
    user: "ann",
    login: "a1",
    store: new FallbackStore([hanging(), hanging(), new MemoryStore()]),
    locks: { request: never },
    fetch: async () => new Response('{"user":"ann","login":"a1"}'),
    open: () => (socket = { readyState: 1, send: (text) => sent.push(JSON.parse(text)), close: () => {} }),
  });
  context.after(() => client.disconnect());
  client.join("lobby");
  client.connect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (const frame of [{ type: "welcome", user: "ann", instance: "gw" }, { type: "joined", room: "lobby", resumed: false, head: "0-0" }]) socket.onmessage({ data: JSON.stringify(frame) });
  const start = performance.now();
  client.send("lobby", "hi");
  while (!sent.some(({ type }) => type === "send") && performance.now() - start < 15_000) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(sent.some(({ type }) => type === "send"));
  client.send("lobby", "and more");
  socket.onmessage({ data: JSON.stringify({ type: "sent", room: "lobby", id: sent.find(({ type }) => type === "send").id, pos: "1-1" }) });
  const next = performance.now();
  while (sent.filter(({ type }) => type === "send").length < 2 && performance.now() - next < 5_000) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(sent.filter(({ type }) => type === "send").length, 2, "a second message is sent too");
  context.diagnostic(`sent after ${Math.round(performance.now() - start)} ms`);
});

test("a socket that throws does not stop the client", async (context) => {
  let socket;
  const client = new Client({
    url: "http://chat.test",
    user: "ann",
    store: new MemoryStore(),
    locks: undefined,
    fetch: async () => new Response('{"user":"ann"}'),
    open: () => (socket = { readyState: 1, send: fails, close: fails }),
  });
  context.after(() => client.disconnect());
  client.join("lobby");
  client.connect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const states = [];
  client.on("state", ({ state }) => states.push(state));
  socket.onmessage({ data: '{"type":"welcome","user":"ann","instance":"gw"}' });
  socket.onclose({ code: 1006 });
  assert.deepEqual(states, ["connected", "waiting"]);
});
