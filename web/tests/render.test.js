import assert from "node:assert/strict";
import { test } from "node:test";
import { actionIn, continues, HUES, hueOf, listed, sameDay, speaker } from "../render.js";
import { mentions, pieces } from "../text.js";

test("colours are stable, in range and spread", () => {
  assert.equal(hueOf("ann"), hueOf("ann"));
  const counts = Array(HUES).fill(0);
  for (let i = 0; i < 1200; i++) counts[hueOf(`user${i}`) / (360 / HUES)] += 1;
  assert.ok(counts.every((count) => count > 50), String(counts));
  assert.ok(hueOf("林小明") < 360);
});

test("a text that begins with /me is an action", () => {
  assert.equal(actionIn("/me waves"), "waves");
  assert.equal(actionIn("/me  waves\nand bows"), "waves\nand bows");
  for (const text of ["/me", "/me ", "/mean", " /me waves", "say /me waves"]) assert.equal(actionIn(text), null, text);
});

test("messages are grouped by author and minute", () => {
  const said = (user, at, text = "x") => ({ user, at, text });
  assert.ok(continues(said("ann", 60_000), said("ann", 119_999)));
  assert.ok(!continues(said("ann", 60_000), said("ann", 120_000)));
  assert.ok(!continues(said("ann", 60_000), said("bob", 60_001)));
  assert.ok(!continues(said("ann", 60_000, "/me waves"), said("ann", 60_001)));
  assert.ok(!continues(null, said("ann", 1)));
});

test("days end at midnight of the reader", () => {
  const noon = new Date(2026, 0, 1, 12).getTime();
  assert.ok(sameDay(noon, noon + 3_600_000));
  assert.ok(!sameDay(noon, noon + 12 * 3_600_000));
});

test("addresses become links, and nothing else does", () => {
  const links = (text) => pieces(text).filter(({ href }) => href).map((piece) => piece.text);
  for (const [text, expected] of [
    ["see https://example.org/a?b=c#d.", ["https://example.org/a?b=c#d"]],
    ["(http://example.org/x)", ["http://example.org/x"]],
    ["https://en.wikipedia.org/wiki/Rust_(game), ok", ["https://en.wikipedia.org/wiki/Rust_(game)"]],
    ["看https://example.org/路径。好", ["https://example.org/路径"]],
    ["two http://a.example http://b.example", ["http://a.example", "http://b.example"]],
    ["HTTPS://EXAMPLE.ORG", ["HTTPS://EXAMPLE.ORG"]],
    ["javascript:alert(1) data:text/html,x ftp://a.example xhttp://a.example https:// http://", []],
    ['"https://a.example/<script>"', ["https://a.example/"]],
  ]) assert.deepEqual(links(text), expected, text);
});

test("pieces add up to the text", () => {
  for (const text of ["", "plain", "a https://a.example b", "https://a.example.", "https://[::bad b", "<b>&amp;"]) {
    assert.equal(pieces(text).map((piece) => piece.text).join(""), text);
  }
});

test("a user is mentioned by @ and the whole name", () => {
  for (const text of ["@ann", "hi @ann!", "@Ann: hi", "@bob,@ann", "你好@ann。", "ok @ann's"]) assert.ok(mentions(text, "ann"), text);
  for (const text of ["ann", "@annabel", "joe@ann", "@ann_x", "@an"]) assert.ok(!mentions(text, "ann"), text);
});

test("strings have values, plural forms, and their key where they are missing", () => {
  const say = speaker({ language: "en", hi: "hi {name} {other}", n_one: "{count} thing", n_other: "{count} things" });
  assert.equal(say("hi", { name: "<b>$&" }), "hi <b>$& {other}");
  assert.equal(say("n", { count: 1 }), "1 thing");
  assert.equal(say("n", { count: 2 }), "2 things");
  assert.equal(speaker({ language: "zh-Hans", n_other: "{count} 个" })("n", { count: 1 }), "1 个");
  assert.equal(say("missing"), "missing");
});

test("numbers are written as the locale has them, and names keep the direction of the sentence", () => {
  const say = speaker({ language: "en", n_other: "{count} things", hi: "hi {name}!" }, "de");
  assert.equal(say("n", { count: 1234 }), "1.234 things");
  assert.equal(say("hi", { name: "דנה" }), "hi \u2068דנה\u2069!");
  assert.equal(listed(["דנה"], say), "\u2068דנה\u2069");
});

test("names are listed up to two, and the others counted", () => {
  const say = speaker({ language: "en", "names.two": "{first} and {last}", "names.more_one": "{names} and {count} other", "names.more_other": "{names} and {count} others", "names.separator": ", " });
  assert.equal(listed(["ann"], say), "ann");
  assert.equal(listed(["ann", "bob"], say), "ann and bob");
  assert.equal(listed(["ann", "bob", "cai"], say), "ann, bob and 1 other");
  assert.equal(listed(["ann", "bob", "cai", "dan", "eve"], say), "ann, bob and 3 others");
});
