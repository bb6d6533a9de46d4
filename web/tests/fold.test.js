// What a room shows: the vectors of `../vectors/fold/`, which the Rust client runs too, and arrivals in any order against the log read once in order.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fold, withWaiting } from "../fold.js";
import { comparePositions, isLater } from "../positions.js";
import { seededRandom } from "./random.js";

const folder = new URL("../vectors/fold/", import.meta.url);

for (const file of readdirSync(folder)) {
  describe(file, () => {
    for (const { name, log, arrivals, shown } of JSON.parse(readFileSync(new URL(file, folder), "utf8"))) {
      test(name, () => {
        const room = fold();
        for (const step of arrivals) {
          if (step === "gap") room.clear();
          else for (const each of step) room.add(typeof each === "string" ? log.find(({ pos }) => pos === each) : each);
        }
        assert.deepEqual(plain(room.list()), shown);
      });
    }
  });
}

/** Without fields that are undefined. */
const plain = (value) => JSON.parse(JSON.stringify(value));

/** A room's log as a server keeps it: it accepts only amendments of messages that are not deleted, and hides the texts of deleted ones. */
class Log {
  entries = [];
  deleted = new Set();
  constructor(random) {
    this.random = random;
  }
  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }
  /** Appends a random entry. */
  grow() {
    const count = this.entries.length + 1;
    const entry = { pos: `1732270000000-${count}`, id: `i${count}`, user: this.pick(["ann", "bob", "cai"]), at: count };
    const target = this.random() < 0.6 ? this.pick(this.entries.filter(({ event, pos }) => !event && !this.deleted.has(pos))) : undefined;
    const what = this.random();
    if (!target) Object.assign(entry, what < 0.2 ? { event: "shipped", data: count } : what < 0.4 ? { ref: this.pick(this.entries)?.pos, text: `re ${count}` } : { text: `${count}` });
    else if (what < 0.3) Object.assign(entry, { event: "edit", ref: target.pos, text: `edit ${count}` });
    else if (what < 0.4) Object.assign(entry, { event: "delete", ref: target.pos });
    else Object.assign(entry, { event: "react", ref: target.pos, data: { key: this.pick(["👍", "😂"]), on: this.random() < 0.6 } });
    if (entry.event === "delete") this.deleted.add(entry.ref);
    this.entries.push(entry);
  }
  /** Entries as they are sent now, from one index to another. */
  read(from, to) {
    return this.entries.slice(Math.max(0, from), to).map((entry) => {
      const gone = this.deleted.has(entry.pos) || (entry.event === "edit" && this.deleted.has(entry.ref));
      const { text, ...rest } = entry;
      return gone ? { ...rest, deleted: true } : entry;
    });
  }
}

/** A client that holds the entries of `log` from one index to another. Live frames, resumes and pages extend it; a gap and trimming shorten it. */
class Reader {
  room = fold();
  constructor(log) {
    this.log = log;
    this.from = this.to = log.entries.length;
  }
  take(entries) {
    for (const entry of entries) this.room.add(entry);
  }
  /** The next entries, perhaps some of them again. */
  resume(repeated) {
    this.take(this.log.read(Math.max(this.from, this.to - repeated), this.log.entries.length));
    this.to = this.log.entries.length;
  }
  page(limit, shuffled) {
    const entries = this.log.read(this.from - limit, this.from);
    this.take(shuffled ? entries.reverse() : entries);
    this.from = Math.max(0, this.from - limit);
  }
  gap(recent) {
    this.room.clear();
    this.to = this.log.entries.length;
    this.from = Math.max(0, this.to - recent);
    this.take(this.log.read(this.from, this.to));
  }
  trim(kept) {
    if (this.to - this.from <= kept) return;
    this.from = this.to - kept;
    this.room.forgetBefore(this.log.entries[this.from].pos);
  }
  /** What is shown of a part of the log that is read once, in order, at the end. */
  expected() {
    const whole = fold();
    for (const entry of this.log.read(this.from, this.to)) whole.add(entry);
    return whole.list();
  }
}

test("pages, resumes, gaps, trimming and live frames in any order show what the log shows when read once in order, in 400 runs", () => {
  for (let seed = 1; seed <= 400; seed++) {
    const random = seededRandom(seed);
    const log = new Log(random);
    for (let count = Math.floor(random() * 60); count > 0; count--) log.grow();
    const reader = new Reader(log);
    for (let step = 0; step < 80; step++) {
      const what = random();
      if (what < 0.4) log.grow();
      else if (what < 0.7) reader.resume(Math.floor(random() * 5));
      else if (what < 0.9) reader.page(1 + Math.floor(random() * 12), random() < 0.5);
      else if (what < 0.95) reader.gap(Math.floor(random() * 10));
      else reader.trim(5 + Math.floor(random() * 20));
      if (reader.to === log.entries.length) assert.deepEqual(plain(reader.room.list()), plain(reader.expected()), `seed ${seed}, step ${step}`);
    }
    reader.resume(0);
    while (reader.from > 0) reader.page(7, false);
    assert.deepEqual(plain(reader.room.list()), plain(reader.expected()), `seed ${seed}, whole log`);
  }
});

test("a log in any order shows the same, and adding says what has changed, in 200 runs", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const log = new Log(random);
    for (let count = 0; count < 40; count++) log.grow();
    const [inOrder, mixed] = [fold(), fold()];
    for (const entry of log.read(0, 40)) inOrder.add(entry);
    const before = new Map();
    for (const entry of log.read(0, 40).sort(() => random() - 0.5)) {
      const changed = mixed.add(entry);
      for (const shown of mixed.list()) {
        const text = JSON.stringify(shown);
        if (before.get(shown.pos) !== text && !shown.deleted) assert.equal(changed, shown.pos, `seed ${seed}: ${text}`);
        before.set(shown.pos, text);
      }
    }
    assert.deepEqual(plain(mixed.list()), plain(inOrder.list()), `seed ${seed}`);
  }
});

test("reactions whose data has another form are ignored", () => {
  const room = fold();
  room.add({ pos: "1-1", id: "a", user: "ann", text: "hi", at: 1 });
  [null, 1, {}, { key: "👍" }, { key: 1, on: true }, { key: "👍", on: 1 }].forEach((data, index) => {
    assert.equal(room.add({ pos: `1-${index + 2}`, id: "b", user: "ann", event: "react", ref: "1-1", data, at: 2 }), null);
  });
  assert.deepEqual(room.get("1-1").reactions, []);
});

test("a deleted text is not kept", () => {
  const room = fold();
  room.add({ pos: "1-1", id: "a", user: "ann", text: "secret", at: 1 });
  room.add({ pos: "1-2", id: "b", user: "ann", event: "delete", ref: "1-1", at: 2 });
  assert.equal(room.get("1-1").text, undefined);
  assert.equal(room.add({ pos: "1-1", id: "a", user: "ann", text: "secret", at: 1 }), null);
  assert.equal(room.get("1-1").text, undefined);
});

test("the reader's own amendments that are waiting are shown", () => {
  const shown = { pos: "1-1", id: "a", user: "ann", text: "hi", at: 1, reactions: [{ key: "👍", users: ["ann", "bob"] }] };
  const amended = (...waiting) => plain(withWaiting(shown, waiting, "ann"));
  assert.deepEqual(amended(), { ...shown, waiting: false });
  assert.deepEqual(amended({ event: "edit", text: "two", at: 5 }, { event: "edit", text: "three", at: 6 }), { ...shown, text: "three", edited: 6, waiting: true });
  assert.deepEqual(amended({ event: "react", data: { key: "👍", on: false } }).reactions, [{ key: "👍", users: ["bob"] }]);
  assert.deepEqual(amended({ event: "react", data: { key: "😂", on: true } }).reactions, [...shown.reactions, { key: "😂", users: ["ann"] }]);
  const { text, ...rest } = shown;
  assert.deepEqual(amended({ event: "react", data: { key: "😂", on: true } }, { event: "delete" }), { ...rest, reactions: [], deleted: true, waiting: true });
});

test("positions are ordered by epoch, then by offset, as numbers of any size", () => {
  const inOrder = ["0-0", "0-1", "1-1", "9-3", "9-20", "10-1", "1732270000000-999", "1732270000000-1000", "18446744073709551614-1", "18446744073709551615-1"];
  for (const [index, position] of inOrder.entries()) {
    assert.equal(comparePositions(position, position), 0);
    for (const later of inOrder.slice(index + 1)) {
      assert.ok(comparePositions(position, later) < 0 && comparePositions(later, position) > 0, `${position} ${later}`);
      assert.ok(isLater(later, position) && !isLater(position, later));
    }
  }
  assert.ok(isLater("0-0", null));
});
