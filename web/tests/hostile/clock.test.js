// The device's clock is set forward and back.
import assert from "node:assert/strict";
import { test } from "node:test";
import { machine } from "../../machine.js";
import { steadyClock } from "../../trunkline.js";

test("time never decreases, goes on evenly after the clock was set back, and follows a clock that was set forward", () => {
  let [wall, even] = [10_000_000, 0];
  const now = steadyClock(() => wall, () => even);
  const pass = (ms) => { wall += ms; even += ms; };
  pass(5);
  assert.equal(now(), 10_000_005);
  wall -= 3_600_000;
  pass(7);
  assert.equal(now(), 10_000_012);
  pass(8);
  assert.equal(now(), 10_000_020);
  wall += 3_600_000; // also what a device shows that has slept
  assert.equal(now(), 13_600_020);
  for (let read = 0; read < 1000; read++) {
    even += 0.4;
    wall = 10_000_000 + Math.floor(even);
    assert.ok(now() <= 13_600_020 + Math.ceil(even), "reading often adds nothing");
  }
});

test("messages of several pages are sent in the order of writing, whatever the clock does", () => {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 200; round++) {
    const stored = new Map();
    const written = [];
    let machineNow;
    for (let page = 0; page < 4; page++) {
      // Each page begins with the clock somewhere within two hours.
      machineNow = 1_000_000_000 + Math.floor(random() * 7_200_000);
      const client = machine({ user: "ann", random: () => 0.5 });
      const handle = (event) => {
        for (const effect of client.handle((machineNow += 1), event)) if (effect.do === "entry") stored.set(effect.entry.id, effect.entry);
      };
      const before = [...stored.values()].sort(() => random() - 0.5);
      handle({ type: "join", room: "lobby" });
      const answersAt = Math.floor(random() * 4);
      for (let message = 0; message < 4; message++) {
        if (message === answersAt) handle({ type: "outbox", room: "lobby", entries: before });
        const id = `${page}-${message}`;
        written.push(id);
        handle({ type: "send", room: "lobby", id, text: id });
      }
    }
    const order = [...stored.values()].sort((a, b) => a.at - b.at).map(({ id }) => id);
    assert.deepEqual(order, written, `round ${round}`);
  }
});
