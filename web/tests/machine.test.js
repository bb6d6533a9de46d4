// Behaviour of the machine that the vectors do not cover.
import assert from "node:assert/strict";
import { test } from "node:test";
import { machine } from "../machine.js";

test("joins refused by the rate limit are repeated one after another", () => {
  const client = machine({ user: "ann", random: () => 0.5 });
  const rooms = Array.from({ length: 30 }, (_, index) => `r${index}`);
  for (const room of rooms) client.handle(0, { type: "join", room });
  client.handle(0, { type: "connect" });
  client.handle(0, { type: "probed", socket: 1, status: 200, user: "ann" });
  // A server that accepts a join every 100 ms, and ten at first.
  let [tokens, refusals, filled] = [10, 0, 0];
  const joined = [];
  const queue = client.handle(0, { type: "frame", socket: 1, frame: { type: "welcome", user: "ann", instance: "gw-1" } });
  for (let now = 0; joined.length < rooms.length && now < 10_000; now = Math.max(now + 1, client.wake ?? 0)) {
    queue.push(...client.handle(now, { type: "tick" }));
    for (let effect = queue.shift(); effect; effect = queue.shift()) {
      if (effect.do !== "transmit" || effect.frame.type !== "join") continue;
      tokens = Math.min(10, tokens + (now - filled) / 100);
      filled = now;
      const { room } = effect.frame;
      const refused = tokens < 1;
      refusals += Number(refused);
      tokens -= Number(!refused);
      if (!refused) joined.push(room);
      const frame = refused ? { type: "error", code: "rate_limited", room, retry_after_ms: Math.ceil((1 - tokens) * 100) } : { type: "joined", room, resumed: false, head: "0-0" };
      queue.push(...client.handle(now, { type: "frame", socket: 1, frame }));
    }
  }
  assert.deepEqual(joined.toSorted(), rooms.toSorted());
  assert.ok(refusals < 50, `${refusals} refusals; after 100 the server closes the socket`);
});

test("a room that is joined again is the first to be joined on a new socket", () => {
  const client = machine({ user: "ann", random: () => 0.5 });
  for (const room of ["a", "b", "c", "b"]) client.handle(0, { type: "join", room });
  client.handle(0, { type: "connect" });
  client.handle(0, { type: "probed", socket: 1, status: 200, user: "ann" });
  const effects = client.handle(0, { type: "frame", socket: 1, frame: { type: "welcome", user: "ann", instance: "gw-1" } });
  assert.deepEqual(effects.filter((each) => each.do === "transmit").map(({ frame }) => frame.room), ["b", "a", "c"]);
});
