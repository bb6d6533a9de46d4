// Sockets that stop working without a close.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStore } from "../../store.js";
import { Client } from "../../trunkline.js";

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A client in the lobby whose sockets the test controls, and whose timers run by `tick`. */
async function connected(context) {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const sockets = [];
  const client = new Client({
    url: "http://chat.test",
    user: "ann",
    store: new MemoryStore(),
    locks: undefined,
    random: () => 0.5,
    fetch: async () => new Response('{"user":"ann"}'),
    open: () => {
      const socket = { readyState: 1, sent: [], send: (text) => socket.sent.push(JSON.parse(text)), close: () => {} };
      sockets.push(socket);
      return socket;
    },
  });
  context.after(() => client.disconnect());
  const receive = (frame) => sockets.at(-1).onmessage({ data: JSON.stringify(frame) });
  const tick = async (ms) => {
    for (let passed = 0; passed < ms; passed += 100) {
      context.mock.timers.tick(100);
      for (let turn = 0; turn < 4; turn++) await settle();
    }
  };
  client.join("lobby");
  client.connect();
  await tick(100);
  receive({ type: "welcome", user: "ann", instance: "gw", ping_interval_ms: 25_000 });
  receive({ type: "joined", room: "lobby", resumed: false, head: "0-0" });
  await tick(100);
  return { client, sockets, receive, tick };
}

const types = ({ sent }) => sent.map(({ type }) => type);

test("a socket that answers nothing to a message is checked after 10 s and replaced after 13 s", async (context) => {
  const { client, sockets, receive, tick } = await connected(context);
  const id = client.send("lobby", "hi");
  await tick(9_900);
  assert.deepEqual(types(sockets[0]), ["join", "send"]);
  await tick(300);
  assert.deepEqual(types(sockets[0]), ["join", "send", "join"]);
  await tick(3_200);
  assert.equal(sockets.length, 2);
  receive({ type: "welcome", user: "ann", instance: "gw", ping_interval_ms: 25_000 });
  receive({ type: "joined", room: "lobby", resumed: true, head: "0-0" });
  await tick(100);
  assert.deepEqual(sockets[1].sent.at(-1), { type: "send", room: "lobby", id, text: "hi" }, "the message is repeated under its id");
});

test("a socket on which any frame arrives is kept", async (context) => {
  const { client, sockets, receive, tick } = await connected(context);
  client.send("lobby", "hi");
  await tick(5_000);
  receive({ type: "ping" });
  await tick(15_000);
  assert.equal(sockets.length, 1);
  assert.deepEqual(types(sockets[0]), ["join", "send", "pong"]);
});

test("without unanswered messages no socket is checked", async (context) => {
  const { sockets, tick } = await connected(context);
  await tick(20_000);
  assert.deepEqual(types(sockets[0]), ["join"]);
});
