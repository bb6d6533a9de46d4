// Rules about text: what is blank, what is a link, what is a mention, what is folded. The vectors are data for the server's tests too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { isBlank, isFolded, isolated, mentions, normalised, pieces, refusal, startText } from "../text.js";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../vectors/text/${name}.json`, import.meta.url), "utf8"));

test("blank characters are those of the shared vectors, over all of Unicode", () => {
  const ranges = vectors("blank").ranges.map((range) => range.map((code) => parseInt(code, 16)));
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const blank = ranges.some(([first, last]) => first <= code && code <= last);
    if (isBlank(String.fromCodePoint(code)) !== blank) assert.fail(`U+${code.toString(16)}`);
  }
});

test("a text is blank if all of its characters are", () => {
  for (const text of ["", " \n\t", "\u200b", "\u2800\u2800", "\u3164", "\ufeff", "\u200d\ufe0f", "\u{e0041}", "\u2066 \u2069"]) {
    assert.ok(isBlank(text), JSON.stringify(text));
    assert.equal(refusal(text), "bad_text");
  }
  for (const text of ["a", "\u200ba", "👩‍👩‍👧", ".", "\u0301", "\ue000"]) {
    assert.ok(!isBlank(text), JSON.stringify(text));
    assert.equal(refusal(text), null);
  }
});

test("mentions end where names end", () => {
  for (const { text, user, mentioned } of vectors("mentions")) assert.equal(mentions(text, user), mentioned, `${text} for ${user}`);
});

test("user ids and display names of any characters are mentioned", () => {
  for (const name of ["auth0|123", "a.b+c@example.org", "x[1]", "(y)", "$z^", "Ann Smith", "a\\\\b", "{}*?"]) {
    assert.ok(mentions(`hi @${name}, there`, name), name);
    assert.ok(!mentions("hi @bob", name), name);
  }
});

test("links are those of the vectors, and pieces add up to the text", () => {
  for (const { text, links } of vectors("links")) {
    const found = pieces(text);
    assert.deepEqual(found.filter(({ href }) => href).map((piece) => [piece.text, piece.href]), links, text);
    assert.equal(found.map((piece) => piece.text).join(""), text);
    for (const [shown] of links) assert.doesNotMatch(shown, /\p{Cf}/u);
  }
});

test("links in any text neither lose nor reorder characters, and are found in bounded time", () => {
  const alphabet = ["http://", "https://", "www.", "a", "b.c", "@", ".", "-", " ", "(", ")", "\u202e", "é", "李", "/", "%", "\n"];
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: Math.floor(random() * 14) }, () => alphabet[Math.floor(random() * alphabet.length)]).join("");
    assert.equal(pieces(text).map((piece) => piece.text).join(""), text);
  }
  const start = performance.now();
  for (const part of ["a", "a.", "www.", "@", "http://", "a@", "a-", "%", "a.b@"]) pieces(part.repeat(4096 / part.length));
  assert.ok(performance.now() - start < 500);
});

test("more than forty lines are folded", () => {
  assert.ok(!isFolded("\n".repeat(39)));
  assert.ok(isFolded("\n".repeat(40)));
  assert.ok(isFolded("\n".repeat(4000)));
  assert.ok(isFolded("x".repeat(3201)));
  assert.ok(!isFolded("x".repeat(3200)));
});

test("words in a sentence keep its direction", () => {
  assert.equal(isolated("ann"), "ann");
  assert.equal(isolated("דנה"), "\u2068דנה\u2069");
  assert.equal(isolated("a\u202eb"), "\u2068a\u202eb\u2069");
});

test("text typed before the script started is kept", () => {
  for (const [draft, typed, kept] of [["", "", ""], ["", "hi", "hi"], ["hi", "", "hi"], ["hi", "hi", "hi"], ["hi", "hi there", "hi there"], ["a draft", "typed", "a draft\ntyped"]]) {
    assert.equal(startText(draft, typed), kept);
  }
});

test("texts are normalised as the protocol has them", () => {
  assert.equal(normalised("a\r\nb\rc\ud800"), "a\nb\nc\ufffd");
});
