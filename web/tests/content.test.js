// What a room shows the reader, and what is drawn again when it changes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { roomContent } from "../content.js";

const message = (n, more = {}) => ({ pos: `1-${n}`, id: `m${n}`, user: "bob", text: `text ${n}`, at: n, ...more });
const amending = (state, more) => ({ user: "ann", room: "lobby", id: "a", at: 9, tried: null, state, ...more });

test("an own reaction is shown before it is delivered, and once when it is", () => {
  const room = roomContent("ann");
  const users = () => room.get("1-1").reactions.flatMap((each) => each.users);
  const react = { event: "react", ref: "1-1", data: { key: "👍", on: true } };
  room.add(message(1));
  assert.deepEqual(room.amending(amending("pending", react)), ["1-1"]);
  assert.deepEqual([users(), room.get("1-1").waiting], [["ann"], true]);
  assert.deepEqual(room.amending(amending("sent", react)), ["1-1"], "the server has it, but it has not arrived");
  assert.deepEqual(users(), ["ann"]);
  assert.deepEqual(room.add({ pos: "1-2", id: "a", user: "ann", ...react, at: 10 }), ["1-1", "1-1"]);
  assert.deepEqual([users(), room.get("1-1").waiting], [["ann"], false]);
  assert.deepEqual(room.amending(amending("sent", react)), [], "`sent` after the reaction itself brings nothing new");
});

test("an amendment that is given up is no longer shown", () => {
  for (const state of ["failed", "discarded", "unsure"]) {
    const room = roomContent("ann");
    room.add(message(1, { user: "ann" }));
    room.amending(amending("pending", { event: "edit", ref: "1-1", text: "two" }));
    assert.equal(room.get("1-1").text, "two");
    assert.deepEqual(room.amending(amending(state, { event: "edit", ref: "1-1", text: "two" })), ["1-1"]);
    assert.equal(room.get("1-1").text, "text 1", state);
  }
});

test("several waiting edits are applied in the order in which they were written", () => {
  const room = roomContent("ann");
  room.add(message(1, { user: "ann" }));
  room.amending(amending("pending", { id: "b", event: "edit", ref: "1-1", text: "later", at: 8 }));
  room.amending(amending("pending", { id: "a", event: "edit", ref: "1-1", text: "earlier", at: 7 }));
  assert.equal(room.get("1-1").text, "later");
});

test("messages that quote a message change with it", () => {
  const room = roomContent("ann");
  assert.deepEqual(room.add(message(2, { ref: "1-1" })), []);
  assert.deepEqual(room.add(message(1)), ["1-2"], "an older message arrives");
  assert.deepEqual(room.add({ pos: "1-3", id: "e", user: "bob", event: "edit", ref: "1-1", text: "new", at: 3 }), ["1-1", "1-2"]);
  assert.deepEqual(room.amending(amending("pending", { event: "delete", ref: "1-1" })), ["1-1", "1-2"]);
});

test("what the server has is dropped when it cannot arrive any more", () => {
  const room = roomContent("ann");
  room.add(message(1, { user: "ann" }));
  room.amending(amending("pending", { event: "edit", ref: "1-1", text: "two" }));
  assert.deepEqual(room.dropSent(), []);
  room.amending(amending("sent", { event: "edit", ref: "1-1", text: "two" }));
  assert.deepEqual(room.dropSent(), ["1-1"]);
  assert.equal(room.get("1-1").text, "text 1");
});

test("the part that is held has its ends at any entry, and only chat messages are shown", () => {
  const room = roomContent("ann");
  assert.deepEqual([room.oldest, room.newest], [null, "0-0"]);
  room.add({ pos: "1-10", id: "e", user: "bob", event: "shipped", data: null, at: 3 });
  room.add({ pos: "1-9", id: "f", user: "bob", event: "react", ref: "1-1", data: { key: "👍", on: true }, at: 3 });
  assert.deepEqual([room.oldest, room.newest, room.get("1-10"), room.get("1-9")], ["1-9", "1-10", null, null]);
  room.add(message(11, { ref: "1-2" }));
  room.forgetBefore("1-11");
  assert.deepEqual([room.oldest, room.newest], ["1-11", "1-11"]);
  assert.deepEqual(room.add(message(2)), ["1-11"]);
  room.forgetBefore("1-12");
  assert.deepEqual(room.add(message(2)), []);
  room.clear();
  assert.deepEqual([room.oldest, room.newest], [null, "0-0"]);
});
