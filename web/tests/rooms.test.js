import assert from "node:assert/strict";
import { test } from "node:test";
import { openRooms, ROOMS_MOST } from "../rooms.js";

function storage() {
  const items = new Map();
  return { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => void items.set(key, value) };
}
const names = (rooms) => rooms.list().map(([room]) => room);

test("the room opened last comes first, and keeps how far it was read", () => {
  const rooms = openRooms(storage(), "ann");
  assert.deepEqual(rooms.list(), []);
  for (const room of ["lobby", "42", "lobby", "ops"]) rooms.open(room);
  assert.deepEqual(names(rooms), ["ops", "lobby", "42"]);
  rooms.read("lobby", "1-7");
  rooms.read("nowhere", "1-8");
  rooms.open("lobby");
  assert.deepEqual(rooms.list(), [["lobby", "1-7"], ["ops", ""], ["42", ""]]);
  rooms.leave("ops");
  rooms.leave("nowhere");
  assert.deepEqual(names(rooms), ["lobby", "42"]);
});

test("beyond the maximum, the room that was opened longest ago is forgotten", () => {
  const rooms = openRooms(storage(), "ann");
  for (let n = 0; n <= ROOMS_MOST; n++) rooms.open(`r${n}`);
  assert.equal(names(rooms).length, ROOMS_MOST);
  assert.ok(!names(rooms).includes("r0") && names(rooms).includes("r1"));
});

test("tabs share the list, users do not", () => {
  const shared = storage();
  openRooms(shared, "ann").open("ops");
  assert.deepEqual(names(openRooms(shared, "ann")), ["ops"]);
  assert.deepEqual(names(openRooms(shared, "bob")), []);
});
