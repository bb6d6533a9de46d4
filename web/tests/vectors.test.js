// The vectors of the state machine: those of `vectors/` are run by the Rust client too, those of `vectors/page/` concern pages only. See ../vectors/README.md.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { machine } from "../machine.js";

const folder = new URL("../vectors/", import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, folder), "utf8"));
const given = Object.fromEntries(read("given.json").map((each) => [each.name, each.steps]));
const files = ["", "page/"].flatMap((part) => readdirSync(new URL(part, folder)).filter((name) => name.endsWith(".json")).map((name) => part + name));

for (const file of files) {
  describe(file, () => {
    for (const { name, user = "ann", login = null, tokens = false, given: first, steps } of read(file)) {
      test(name, () => {
        const client = machine({ user, login, tokens, random: () => 0.5 });
        for (const { at, event, wake, effects } of [...(first ? given[first] : []), ...steps]) {
          const step = `at ${at}: ${event.type} ${event.frame?.type ?? ""}`;
          const done = JSON.parse(JSON.stringify(client.handle(at, event))); // a field that is undefined is left out
          assert.deepEqual(done, effects, step);
          assert.equal(client.wake, wake, `${step}: wake`);
        }
      });
    }
  });
}
