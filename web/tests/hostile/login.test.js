// What was written belongs to a login: another login of the same name neither sees nor sends it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { carry, draftStore, takeCarried } from "../../drafts.js";
import { keyValueStore } from "../../facilities.js";
import { KeyValueEntries } from "../../browserstore.js";
import { MemoryStore, outbox } from "../../store.js";
import { entry, ids, memoryStorage, withGlobal } from "./fakes.js";

const plain = ({ owner: _, login: __, ...each }) => each;

/** Storage of one tab of a browser. */
function browser(context) {
  const local = memoryStorage();
  const session = memoryStorage();
  withGlobal(context, "localStorage", local);
  withGlobal(context, "sessionStorage", session);
  return { local, session, tab: keyValueStore("sessionStorage"), shared: keyValueStore("localStorage") };
}

test("another login of the same name finds no unsent message, and its start deletes them", async (context) => {
  const { shared } = browser(context);
  for (const store of [new MemoryStore(), new KeyValueEntries(shared)]) {
    const first = outbox(store, undefined, "1", "a1");
    first.save(plain(entry("secret")));
    await first.written;
    const second = outbox(store, undefined, "2", "b2");
    const taken = [];
    await second.claim("ann", "lobby", (entries) => taken.push(...entries));
    assert.deepEqual(taken, []);
    const same = outbox(store, undefined, "3", "a1");
    await same.claim("ann", "lobby", (entries) => taken.push(...ids(entries)));
    assert.deepEqual(taken, ["secret"], "the same login finds them, in another tab too");
    await store.retain("b2");
    assert.deepEqual(await store.list("a1", "lobby"), []);
  }
});

test("a login whose id begins like another's is another login", async (context) => {
  const { shared } = browser(context);
  const store = new KeyValueEntries(shared);
  await store.put(entry("a", { login: "a1" }));
  await store.put(entry("b", { login: "a12" }));
  assert.deepEqual(ids(await store.list("a1", "lobby")), ["a"]);
  await store.drop("a1");
  assert.deepEqual(ids(await store.list("a12", "lobby")), ["b"]);
});

test("logging out deletes unsent messages, and keeps no later ones", async () => {
  const store = new MemoryStore();
  const mine = outbox(store, undefined, "1", "a1");
  mine.save(plain(entry("a")));
  await mine.drop("ann");
  mine.save(plain(entry("b")));
  await mine.written;
  assert.deepEqual(await store.list("a1", "lobby"), []);
});

test("a draft belongs to a room and a login, and is found in a new tab", (context) => {
  const { tab, shared } = browser(context);
  const drafts = draftStore(tab, shared, "a1");
  drafts.write("lobby", "half");
  const newTab = (login) => {
    withGlobal(context, "sessionStorage", memoryStorage());
    return draftStore(keyValueStore("sessionStorage"), shared, login);
  };
  assert.equal(newTab("a1").read("lobby"), "half");
  assert.equal(newTab("a1").read("ops"), "");
  assert.equal(newTab("b2").read("lobby"), "");
  newTab("b2").retain();
  assert.equal(newTab("a1").read("lobby"), "");
});

test("two tabs keep their own drafts, and sending in one does not delete the other's", (context) => {
  const { shared } = browser(context);
  const [one, two] = [1, 2].map(() => {
    const storage = memoryStorage();
    return draftStore({ ...storage, keys: () => [...storage.items.keys()] }, shared, "a1");
  });
  one.write("lobby", "one");
  two.write("lobby", "two");
  one.write("lobby", "one more");
  two.write("lobby", ""); // sent
  assert.equal(one.read("lobby"), "one more");
  assert.equal(two.read("lobby"), "");
  one.write("lobby", "");
  assert.deepEqual(shared.keys(), []);
});

test("logging out deletes drafts", (context) => {
  const { tab, shared, local } = browser(context);
  const drafts = draftStore(tab, shared, "a1");
  drafts.write("lobby", "half");
  drafts.drop();
  assert.equal(drafts.read("lobby"), "");
  assert.equal(local.items.size, 0);
});

test("what the reader carries over is taken once, by the same user, within five minutes", (context) => {
  const { tab } = browser(context);
  const carried = { user: "ann", at: 1_000_000, drafts: [["lobby", "half"]], entries: [] };
  const none = { drafts: [], entries: [] };
  carry(tab, carried);
  assert.deepEqual(takeCarried(tab, "ann", 1_100_000).drafts, carried.drafts);
  assert.deepEqual(takeCarried(tab, "ann", 1_100_000), none);
  carry(tab, carried);
  assert.deepEqual(takeCarried(tab, "bob", 1_100_000), none);
  assert.deepEqual(takeCarried(tab, "ann", 1_100_000), none);
  carry(tab, carried);
  assert.deepEqual(takeCarried(tab, "ann", 1_300_001), none);
  tab.setItem("trunkline:carried", "{");
  assert.deepEqual(takeCarried(tab, "ann", 1_000_000), none);
});
