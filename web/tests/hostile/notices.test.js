// Notifications and announcements of missed messages: how many there are, and when they appear.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { mentionCollector, spoken, summary } from "../../notices.js";
import { speaker } from "../../render.js";

const say = speaker(JSON.parse(readFileSync(new URL("../../strings/en.json", import.meta.url), "utf8")));
const NOW = 1_800_000_000_000;
const mention = (at = NOW, room = "lobby", text = "@ann hi") => ({ room, message: { pos: `1-${at}`, id: "m", user: "bob", text, at } });
const unread = () => true;

/** Runs a collector as the page does, and returns what is shown at which time. */
function run(mentions, { isUnread = unread, collector = mentionCollector() } = {}) {
  const shown = [];
  const until = (time) => {
    while (collector.wake !== null && collector.wake <= time) {
      const at = collector.wake;
      const due = collector.due(at, isUnread);
      if (due.length) shown.push({ at, count: due.length, ...summary(due, say) });
    }
  };
  for (const { at, what, missed = false } of mentions) {
    until(at);
    collector.add(at, what, missed);
  }
  until(Infinity);
  return shown;
}

test("forty mentions that were missed in sleep are one notification", () => {
  const shown = run(Array.from({ length: 40 }, (_, index) => ({ at: NOW + index, what: mention(NOW - 60_000 + index, index % 2 ? "lobby" : "ops"), missed: true })));
  assert.deepEqual(shown.map(({ count, title, body }) => [count, title, body]), [[40, "40 messages mention you", "ops, lobby"]]);
});

test("forty old mentions cause no notification", () => {
  assert.deepEqual(run(Array.from({ length: 40 }, (_, index) => ({ at: NOW + index, what: mention(NOW - 3 * 3_600_000), missed: true }))), []);
});

test("the device's clock does not make live mentions old, and is allowed for with missed ones", () => {
  const hour = 3_600_000;
  assert.equal(run([{ at: NOW + 5 * hour, what: mention(NOW) }]).length, 1);
  const collector = mentionCollector();
  collector.live(NOW + 5 * hour, NOW - 20);
  assert.equal(run([{ at: NOW + 5 * hour, what: mention(NOW - 60_000), missed: true }], { collector }).length, 1);
});

test("one mention is shown with its text, in less than half a second", () => {
  const [{ at, title, body }] = run([{ at: NOW, what: mention(NOW, "lobby", "@ann " + "x".repeat(500)) }]);
  assert.ok(at - NOW < 500);
  assert.equal(title, "bob in lobby");
  assert.ok(body.length < 220 && body.endsWith("…"));
});

test("a long burst is shown every two seconds, always as one summary", () => {
  const shown = run(Array.from({ length: 50 }, (_, index) => ({ at: NOW + index * 200, what: mention(NOW + index * 200) })));
  assert.ok(shown.length <= 6, String(shown.length));
  assert.equal(shown.at(-1).count, 50);
});

test("mentions that the reader has seen meanwhile cause no notification", () => {
  assert.deepEqual(run([{ at: NOW, what: mention() }], { isUnread: () => false }), []);
  const collector = mentionCollector();
  collector.add(NOW, mention(), false);
  collector.seen();
  assert.equal(collector.wake, null);
});

test("a burst is read aloud as its number, single messages with their text", () => {
  const messages = (count) => Array.from({ length: count }, () => mention().message);
  assert.deepEqual(spoken(messages(2), say), ["bob: @ann hi", "bob: @ann hi"]);
  assert.deepEqual(spoken(messages(40), say), ["40 new messages"]);
});
