// The vectors that the Rust client runs too: see ../vectors/README.md.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { Machine } from "../machine.js";

const folder = new URL("../vectors/", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, folder), "utf8"));
const given = Object.fromEntries(read("given.json").map((each) => [each.name, each.steps]));

for (const file of readdirSync(folder).filter((name) => name.endsWith(".json"))) {
  describe(file, () => {
    for (const { name, user = "ann", given: first, steps } of read(file)) {
      test(name, () => {
        const machine = new Machine({ user, random: () => 0.5 });
        for (const { at, event, wake, effects } of [...(first ? given[first] : []), ...steps]) {
          const step = `at ${at}: ${event.type} ${event.frame?.type ?? ""}`;
          assert.deepEqual(machine.handle(at, event), effects, step);
          assert.equal(machine.wake, wake, `${step}: wake`);
        }
      });
    }
  });
}
