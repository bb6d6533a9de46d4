// The library around the machine: sockets, timers, store and tabs, each replaced by a fake.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { MemoryStore, outbox } from "../store.js";
import { refusal } from "../text.js";
import { Client } from "../trunkline.js";

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

/** The part of Web Locks that the page uses. `drop` frees the locks of a tab, as the browser does when it goes. */
class Locks {
  #held = new Map();
  request(name, options, body = options) {
    const { ifAvailable = false, signal } = typeof options === "function" ? {} : options;
    return new Promise((resolve, reject) => {
      const grant = async () => {
        const lock = {};
        this.#held.set(name, lock);
        resolve(await body(lock));
        this.#free(name, lock);
      };
      if (!this.#held.has(name)) return void grant();
      if (ifAvailable) return resolve(body(null));
      signal?.addEventListener("abort", () => reject(signal.reason));
      this.#waiting.push({ name, grant });
    });
  }
  #waiting = [];
  #free(name, lock) {
    if (this.#held.get(name) !== lock) return;
    this.#held.delete(name);
    const next = this.#waiting.findIndex((each) => each.name === name);
    if (next >= 0) this.#waiting.splice(next, 1)[0].grant();
  }
  /** @param {string} tab */
  drop(tab) {
    for (const [name, lock] of [...this.#held]) if (name.includes(`:${tab}:`)) this.#free(name, lock);
  }
}

const entry = (id, more = {}) => ({ user: "ann", room: "lobby", id, text: id, at: 1, tried: null, state: "pending", ...more });
const ids = (entries) => entries.map(({ id }) => id);

test("a tab takes over the entries of another tab only when that tab is gone", async () => {
  const store = new MemoryStore();
  const locks = new Locks();
  const [first, second, third] = ["1", "2", "3"].map((tab) => outbox(store, locks, tab));
  await first.claim("ann", "lobby", () => {});
  first.save(entry("a"));
  await first.written;

  const taken = [];
  await second.claim("ann", "lobby", (entries) => taken.push(ids(entries)));
  await third.claim("ann", "lobby", (entries) => taken.push(ids(entries)));
  assert.deepEqual(taken, [[], []]);
  locks.drop("1");
  await settle();
  assert.deepEqual(taken.flat(), ["a"], "one tab takes over, not two");

  const late = [];
  locks.drop("2");
  locks.drop("3");
  await outbox(store, locks, "4").claim("ann", "lobby", (entries) => late.push(...ids(entries)));
  await settle();
  assert.deepEqual(late, ["a"]);
});

test("sent entries are deleted, and entries are listed by user and room", async () => {
  const store = new MemoryStore();
  const mine = outbox(store, new Locks(), "1");
  mine.save(entry("a"));
  mine.save(entry("b", { room: "ops" }));
  mine.save(entry("c", { user: "bob" }));
  mine.save(entry("a", { state: "sent", pos: "1-1" }));
  await mine.written;
  for (const [user, room, expected] of [["ann", "lobby", []], ["ann", "ops", ["b"]], ["bob", "lobby", ["c"]]]) {
    assert.deepEqual(ids(await store.list(user, room)), expected);
  }
});

test("leaving a room frees its entries for the next time the room is joined", async () => {
  const mine = outbox(new MemoryStore(), new Locks(), "1");
  mine.save(entry("a"));
  mine.leave("lobby");
  const taken = [];
  await mine.claim("ann", "lobby", (entries) => taken.push(...ids(entries)));
  await settle();
  assert.deepEqual(taken, ["a"]);
});

test("a store that fails does not stop the chat", async (context) => {
  context.mock.method(console, "warn", () => {});
  const broken = { list: async () => { throw new Error("no"); }, put: async () => { throw new Error("no"); }, delete: async () => {} };
  const mine = outbox(broken, undefined, "1");
  mine.save(entry("a"));
  await mine.written;
  let taken;
  await mine.claim("ann", "lobby", (entries) => { taken = entries; });
  assert.deepEqual(taken, []);
});

/** @type {Client[]} */
const clients = [];
afterEach(() => clients.splice(0).forEach((client) => client.disconnect())); // otherwise it reconnects for ever, and the test never ends

/** A client whose server, sockets and store the test controls. */
function page({ store = new MemoryStore(), status = 200, ...options } = {}) {
  const sockets = [];
  const requests = [];
  const client = new Client({
    url: "http://chat.test",
    user: "ann",
    store,
    locks: undefined,
    ...options,
    fetch: async (url, { headers }) => {
      assert.equal(String(url), "http://chat.test/session");
      requests.push(headers);
      return new Response(status === 200 ? '{"user":"ann","instance":"gw-1","expires_in":1000}' : "{}", { status, headers: { "retry-after": "7" } });
    },
    open: (url, protocols) => {
      const socket = { url, protocols, readyState: 1, sent: [], send: (text) => socket.sent.push(JSON.parse(text)), close: () => { socket.readyState = 3; } };
      sockets.push(socket);
      return socket;
    },
  });
  clients.push(client);
  const effects = [];
  for (const name of ["state", "message", "entry", "caught_up"]) client.on(name, (effect) => effects.push(effect));
  const receives = (frame) => sockets.at(-1).onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  return { client, sockets, requests, effects, receives, store };
}

async function joined(more) {
  const at = page(more);
  at.client.join("lobby");
  at.client.connect();
  await settle();
  at.receives({ type: "welcome", user: "ann", instance: "gw-1", ping_interval_ms: 25_000 });
  at.receives({ type: "joined", room: "lobby", resumed: false, head: "0-0" });
  await settle();
  return at;
}

test("client connects, joins, sends, and receives its own message", async () => {
  const { client, sockets, effects, receives } = await joined();
  assert.equal(sockets[0].url, "ws://chat.test/ws");
  assert.deepEqual(sockets[0].protocols, ["trunkline.v1"]);
  const id = client.send("lobby", "hi\r\nthere \ud800!");
  await settle();
  assert.deepEqual(sockets[0].sent, [
    { type: "join", room: "lobby", recent: 50 },
    { type: "send", room: "lobby", id, text: "hi\nthere \ufffd!" },
  ]);
  assert.match(id, /^[A-Za-z0-9_-]{1,64}$/);
  receives("not JSON");
  receives({ type: "message", room: "lobby", pos: "1-1", id, user: "ann", text: "hi", at: 1 });
  assert.equal(effects.at(-1).message.text, "hi");
  assert.equal(effects.at(-2).entry.state, "sent");
  client.disconnect();
  assert.equal(sockets[0].readyState, 3);
});

test("a message is stored before it is sent", async () => {
  const store = new MemoryStore();
  let release;
  const stored = new Promise((resolve) => { release = resolve; });
  const put = store.put.bind(store);
  store.put = async (...args) => { await stored; await put(...args); };
  const { client, sockets } = await joined({ store });
  client.send("lobby", "hi");
  await settle();
  assert.deepEqual(sockets[0].sent.map(({ type }) => type), ["join"]);
  release();
  await settle();
  assert.deepEqual(sockets[0].sent.map(({ type }) => type), ["join", "send"]);
  assert.notEqual((await store.list("ann", "lobby"))[0].tried, null);
});

test("the outbox survives a reload, with ids and order", async () => {
  const store = new MemoryStore();
  const before = page({ store, status: 503 });
  before.client.join("lobby");
  before.client.connect();
  const sent = ["one", "two"].map((text) => before.client.send("lobby", text));
  await settle();
  assert.equal(before.effects.filter(({ do: what }) => what === "state").at(-1).cause, "unavailable");
  before.client.disconnect();

  const { client, sockets, receives } = await joined({ store });
  await settle();
  receives({ type: "sent", room: "lobby", id: sent[0], pos: "1-1" });
  await settle();
  receives({ type: "sent", room: "lobby", id: sent[1], pos: "1-2" });
  await settle();
  assert.deepEqual(sockets[0].sent.filter(({ type }) => type === "send").map(({ id, text }) => [id, text]), [[sent[0], "one"], [sent[1], "two"]]);
  assert.deepEqual(await store.list("ann", "lobby"), []);
});

test("messages, answers, events and amendments are sent in their forms", async () => {
  const { client, sockets, receives } = await joined();
  client.on("entry", ({ entry }) => {
    if (entry.tried !== null && entry.state === "pending") setImmediate(() => receives({ type: "sent", room: "lobby", id: entry.id, pos: "1-1" }));
  });
  client.send("lobby", "hi");
  client.send("lobby", { text: "re\r\nhi", ref: "1-1" });
  client.send("lobby", { event: "shipped", data: { by: "ups" } });
  client.send("lobby", { event: "closed" });
  client.edit("lobby", "1-1", "two\r\nlines");
  client.react("lobby", "1-1", "👍");
  client.react("lobby", "1-1", "👍", false);
  client.delete("lobby", "1-1");
  client.signal("lobby", "cursor", { x: 1 });
  client.seen("lobby", "1-1");
  for (let turn = 0; turn < 20; turn++) await settle();
  assert.deepEqual(sockets[0].sent.filter(({ type }) => type === "send").map(({ type, room, id, ...content }) => content), [
    { text: "hi" },
    { ref: "1-1", text: "re\nhi" },
    { event: "shipped", data: { by: "ups" } },
    { event: "closed", data: null },
    { event: "edit", ref: "1-1", text: "two\nlines" },
    { event: "react", ref: "1-1", data: { key: "👍", on: true } },
    { event: "react", ref: "1-1", data: { key: "👍", on: false } },
    { event: "delete", ref: "1-1" },
  ]);
  assert.deepEqual(sockets[0].sent.filter(({ type }) => type === "signal" || type === "seen"), [
    { type: "signal", room: "lobby", event: "cursor", data: { x: 1 } },
    { type: "seen", room: "lobby", pos: "1-1" },
  ]);
});

test("a token authenticates the probe and the socket, and is replaced before it ends", async () => {
  let count = 0;
  const { sockets, requests, receives } = await joined({ token: async () => `t${++count}`, user: null });
  assert.deepEqual(requests, [{ accept: "application/json", authorization: "Bearer t1" }]);
  assert.deepEqual(sockets[0].protocols, ["trunkline.v1", "trunkline.token.t1"]);
  assert.equal(sockets[0].url, "ws://chat.test/ws", "a token never stands in an address");
  receives({ type: "refreshed", expires_in: 0 });
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.deepEqual(sockets[0].sent.filter(({ type }) => type === "refresh"), [{ type: "refresh", token: "t2" }]);
  receives({ type: "error", code: "bad_token", detail: "expired" });
  await settle();
  assert.deepEqual(sockets[0].sent.filter(({ type }) => type === "refresh").map(({ token }) => token), ["t2", "t3"]);
  await sockets[0].onclose({ code: 4401 });
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.deepEqual(sockets[1].protocols, ["trunkline.v1", "trunkline.token.t4"]);
});

test("while the source has no token, nothing is requested", async () => {
  const at = page({ token: async () => { throw new Error("no"); } });
  at.client.connect();
  await settle();
  assert.deepEqual(at.requests, []);
  assert.equal(at.effects.at(-1).cause, "unreachable");
});

test("a listener may call back, may fail, and may end", async (context) => {
  const { mock } = context.mock.method(console, "error", () => {});
  const { client, receives, sockets } = await joined();
  const off = client.on("message", ({ message }) => {
    client.send("lobby", `re: ${message.text}`);
    throw new Error("fault of the listener");
  });
  receives({ type: "message", room: "lobby", pos: "1-1", id: "x", user: "bob", text: "hi", at: 1 });
  off();
  receives({ type: "message", room: "lobby", pos: "1-2", id: "y", user: "bob", text: "hi", at: 1 });
  await settle();
  assert.deepEqual(sockets[0].sent.filter(({ type }) => type === "send").map(({ text }) => text), ["re: hi"]);
  assert.match(String(mock.calls[0].arguments[0]), /fault of the listener/);
});

test("a room that the server refuses for good takes no messages", async () => {
  const { client, receives } = await joined();
  client.join("secret");
  assert.ok(client.isIn("secret"));
  receives({ type: "error", code: "forbidden", room: "secret" });
  assert.ok(!client.isIn("secret") && client.isIn("lobby"));
});

test("a text that the server would refuse is refused before it is sent", () => {
  assert.equal(refusal("hi\n\tthere"), null);
  assert.equal(refusal("hi\r\nthere"), null);
  assert.equal(refusal(" \n"), "bad_text");
  assert.equal(refusal("a\u0007"), "bad_text");
  assert.equal(refusal("ä".repeat(2048)), null);
  assert.equal(refusal("ä".repeat(2048) + "a"), "too_long");
});
