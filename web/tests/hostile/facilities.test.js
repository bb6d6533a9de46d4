// Each facility absent, throwing, silent, full or corrupt.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { answered, hasFocus, hasTouchKeyboard, isOnline, keyValueStore, localeFor, NoAnswer, notifier, randomId, timeoutSignal, webLocks } from "../../facilities.js";
import { draftStore } from "../../drafts.js";
import { openRooms } from "../../rooms.js";
import { fails, isFull, memoryStorage, never, withGlobal } from "./fakes.js";

const storages = {
  absent: undefined,
  null: null,
  "throwing when touched": { get: fails },
  "throwing in every method": { getItem: fails, setItem: fails, removeItem: fails, key: fails, get length() { return fails(); } },
  full: { ...memoryStorage(), setItem: isFull, length: 0 },
  "silently refusing": { ...memoryStorage(), setItem: () => {}, length: 0 },
  corrupt: { getItem: () => 7, setItem: () => {}, removeItem: () => {}, key: () => 7, length: 3 },
};

for (const [how, storage] of Object.entries(storages)) {
  describe(`a storage that is ${how}`, () => {
    test("keeps values for the life of the page, and says so", (context) => {
      withGlobal(context, "localStorage", storage);
      let refused = 0;
      const store = keyValueStore("localStorage", () => { refused += 1; });
      assert.equal(store.getItem("a"), null);
      store.setItem("a", "1");
      assert.equal(store.getItem("a"), "1");
      assert.deepEqual(store.keys(), ["a"]);
      assert.equal(refused, 1);
      assert.equal(store.persist("b", "2"), false);
      assert.equal(store.getItem("b"), null);
      store.removeItem("a");
      assert.equal(store.getItem("a"), null);
    });
    test("drafts and rooms work", (context) => {
      withGlobal(context, "localStorage", storage);
      withGlobal(context, "sessionStorage", storage);
      const rooms = openRooms(keyValueStore("localStorage"), "ann");
      rooms.open("lobby");
      rooms.read("lobby", "1-7");
      assert.deepEqual(rooms.list(), [["lobby", "1-7"]]);
      const drafts = draftStore(keyValueStore("sessionStorage"), keyValueStore("localStorage"), "a1");
      drafts.write("lobby", "half");
      assert.equal(drafts.read("lobby"), "half");
      assert.deepEqual(drafts.all(), [["lobby", "half"]]);
      drafts.write("lobby", "");
      assert.equal(drafts.read("lobby"), "");
    });
  });
}

test("a storage that becomes full later keeps the old value for the next page and the new one for this page", (context) => {
  const storage = memoryStorage();
  withGlobal(context, "localStorage", storage);
  const store = keyValueStore("localStorage");
  store.setItem("a", "old");
  storage.setItem = isFull;
  store.setItem("a", "new");
  assert.equal(store.getItem("a"), "new");
  assert.equal(keyValueStore("localStorage").getItem("a"), "old");
});

test("a list of rooms that this page did not write is no list", () => {
  for (const text of ["", "null", "{}", "[1]", '[["lobby"]]', '[["../x",""]]', '["lobby"]', "[[", '[[{},"1-1"]]', '"lobby"']) {
    const rooms = openRooms(memoryStorage(new Map([["trunkline:rooms:ann", text]])), "ann");
    assert.deepEqual(rooms.list(), [], text);
    rooms.open("ops");
    assert.deepEqual(rooms.list(), [["ops", ""]]);
  }
});

test("a call that never settles is given up", async () => {
  await assert.rejects(answered(never, 10), NoAnswer);
  await assert.rejects(answered(fails, 10), /insecure/);
  await assert.rejects(answered(() => Promise.reject(new Error("no")), 10), /no/);
  assert.equal(await answered(() => 7, 10), 7);
});

test("locks that are absent or throw are no locks", (context) => {
  for (const navigator of [undefined, {}, { locks: {} }, { get locks() { return fails(); } }]) {
    withGlobal(context, "navigator", { get: () => navigator });
    assert.equal(webLocks(), undefined);
  }
});

test("ids are random without crypto", (context) => {
  for (const crypto of [undefined, {}, { getRandomValues: fails }]) {
    withGlobal(context, "crypto", { get: () => crypto });
    assert.match(randomId(), /^[0-9a-f]{32}$/);
    assert.notEqual(randomId(), randomId());
  }
});

test("properties of the browser that cannot be read have default values", (context) => {
  withGlobal(context, "document", { get: fails });
  withGlobal(context, "matchMedia", fails);
  withGlobal(context, "navigator", { get: fails });
  assert.equal(hasFocus(), true);
  assert.equal(hasTouchKeyboard(), false);
  assert.equal(isOnline(), true);
  assert.equal(localeFor("en"), "en");
  withGlobal(context, "AbortSignal", undefined);
  assert.equal(timeoutSignal(1), undefined);
});

test("dates and numbers follow the language of the page", (context) => {
  for (const [languages, language, locale] of [
    [["de-DE", "de"], "en", "en"],
    [["de-DE", "en-GB"], "en", "en-GB"],
    [["zh-TW"], "zh-Hans", "zh-TW"],
    [[], "en", "en"],
    [["en-!", 7], "en", "en"],
  ]) {
    withGlobal(context, "navigator", { get: () => ({ languages }) });
    assert.equal(localeFor(language), locale, String(languages));
  }
});

describe("notifications", () => {
  const shown = [];
  class Working {
    static permission = "default";
    static requestPermission = async () => { Working.permission = "granted"; };
    constructor(title) { if (Working.permission === "granted") shown.push(title); }
    close() {}
  }
  test("are offered where they work", async (context) => {
    withGlobal(context, "Notification", Working);
    const notifications = notifier();
    assert.ok(notifications.offered());
    await notifications.ask();
    assert.ok(notifications.granted() && !notifications.offered());
    notifications.show("hi", {}, () => {});
    assert.deepEqual(shown, ["hi"]);
  });
  test("are not offered where the constructor throws, as on Android", (context) => {
    withGlobal(context, "Notification", Object.assign(function () { throw new TypeError("Illegal constructor"); }, { permission: "default" }));
    assert.ok(!notifier().offered());
  });
  test("are not offered where they are absent or throw", async (context) => {
    for (const facility of [undefined, null, { get permission() { return fails(); } }]) {
      withGlobal(context, "Notification", { get: () => facility });
      assert.ok(!notifier().offered());
      assert.ok(!notifier().granted());
    }
    withGlobal(context, "Notification", Object.assign(function () {}, { permission: "default", requestPermission: fails }));
    const notifications = notifier();
    await notifications.ask();
    assert.ok(!notifications.offered());
  });
  test("that fail later do not throw", (context) => {
    withGlobal(context, "Notification", Object.assign(function () { throw new TypeError("Illegal constructor"); }, { permission: "granted" }));
    const notifications = notifier();
    notifications.show("hi", {}, () => {});
    assert.ok(!notifications.granted());
  });
});
