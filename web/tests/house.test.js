// Properties of all files together: contrast, equal strings in every language, ids that exist, imports that can be rewritten, size.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { HUES } from "../render.js";

const folder = new URL("../", import.meta.url);
const read = (name) => readFileSync(new URL(name, folder), "utf8");
const scripts = readdirSync(folder).filter((name) => name.endsWith(".js"));
const languages = readdirSync(new URL("strings/", folder));
const page = read("PAGE.md");

test("text meets 4.5:1 and edges 3:1 in both themes", () => {
  const linear = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  /** Linear sRGB of an OKLCH colour, cut off where screens end: CSS Color 4, section 10. */
  const person = (lightness, chroma, hue) => {
    const [a, b] = [Math.cos, Math.sin].map((part) => chroma * part((hue * Math.PI) / 180));
    const [l, m, s] = [[0.3963377774, 0.2158037573], [-0.1055613458, -0.0638541728], [-0.0894841775, -1.291485548]].map(([x, y]) => (lightness + x * a + y * b) ** 3);
    const rows = [[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965], [-0.0041960863, -0.7034186147, 1.707614701]];
    return rows.map(([x, y, z]) => Math.min(1, Math.max(0, x * l + y * m + z * s)));
  };
  const luminance = (colour) => {
    const [r, g, b] = typeof colour === "string" ? linear(colour) : colour;
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const themes = [...read("style.css").matchAll(/:root \{([^}]*--ground[^}]*)\}/g)].map(([, body]) => Object.fromEntries([...body.matchAll(/--([\w-]+): (#\w{6}|\d+%)/g)].map(([, name, value]) => [name, value])));
  assert.equal(themes.length, 2);
  for (const theme of themes) {
    const chroma = Number(/oklch\(var\(--person\) ([\d.]+)/.exec(read("dom.js"))?.[1]);
    const people = Array.from({ length: HUES }, (_, index) => `p${index}`);
    people.forEach((name, index) => { theme[name] = person(parseInt(theme.person, 10) / 100, chroma, (index * 360) / HUES); });
    const texts = ["ink", "quiet", "accent", "bad", ...people].flatMap((ink) => ["ground", "side", "own"].map((ground) => [ink, ground]));
    for (const [ink, ground] of [...texts, ["on-accent", "accent"], ["good", "good-ground"], ["warn", "warn-ground"], ["bad", "bad-ground"]]) {
      assert.ok(contrast(theme[ink], theme[ground]) >= 4.5, `${ink} on ${ground}: ${contrast(theme[ink], theme[ground]).toFixed(2)}`);
    }
    for (const ground of ["ground", "side"]) assert.ok(contrast(theme.edge, theme[ground]) >= 3, `edge on ${ground}`);
  }
});

test("every language has the same strings with the same values", () => {
  const base = (key) => key.replace(/_(zero|one|two|few|many|other)$/, "");
  const values = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort().join();
  const english = JSON.parse(read("strings/en.json"));
  for (const file of languages) {
    const strings = JSON.parse(read(`strings/${file}`));
    assert.deepEqual([...new Set(Object.keys(strings).map(base))].sort(), [...new Set(Object.keys(english).map(base))].sort(), file);
    for (const [key, text] of Object.entries(strings)) assert.equal(values(text), values(english[key]), `${file}: ${key}`);
    const forms = new Intl.PluralRules(strings.language).resolvedOptions().pluralCategories;
    for (const key of Object.keys(strings).filter((each) => each.endsWith("_other"))) {
      for (const form of forms) assert.ok(`${base(key)}_${form}` in strings, `${file}: ${base(key)}_${form}`);
    }
  }
});

test("every string that scripts and pages use is in the tables", () => {
  const english = JSON.parse(read("strings/en.json"));
  const known = (key) => key in english || `${key}_other` in english;
  const said = scripts.flatMap((name) => [...read(name).matchAll(/say\((?:[^"`()]*\? )?"([\w.]+)"(?: : "([\w.]+)")?/g)].flatMap(([, ...keys]) => keys.filter(Boolean)));
  const shown = [...page.matchAll(/\{([a-z]+(?:\.[a-z_]+)?)\}/g)].map(([, key]) => key).filter((key) => !["name", "room", "place"].includes(key));
  assert.ok(said.length > 30 && shown.length > 15);
  for (const key of [...said, ...shown]) assert.ok(known(key), key);
});

test("every id that the scripts look for is in the page", () => {
  const ids = scripts.flatMap((name) => [...read(name).matchAll(/find\("([\w-]+)"/g)].map(([, id]) => id));
  assert.ok(ids.length > 15);
  for (const id of [...ids, "rooms", "people", "show-rooms", "show-people"]) assert.ok(page.includes(`id="${id}"`), id);
});

test("scripts make no markup from strings, and pages hold nothing that the content policy forbids", () => {
  for (const name of scripts) assert.doesNotMatch(read(name), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\("(style|on)/, name);
  assert.doesNotMatch(page.replace(/`[^`\n]*`/g, ""), / style="| on\w+="/);
});

test("imports can be rewritten line by line, and the contract names every asset", () => {
  for (const name of scripts) {
    for (const line of read(name).split("\n").filter((each) => /^import\b|^export .* from/.test(each))) {
      const [, imported] = /^import \{ [\w, ]+ \} from "\.\/(\w+\.js)";$/.exec(line) ?? [];
      assert.ok(imported && scripts.includes(imported), `${name}: ${line}`);
    }
    assert.ok(page.includes(`\`${name}\``), name);
  }
});

/** The text as it is served: without indentation, empty lines, and lines that are only comment. */
function served(text) {
  let inComment = false;
  return text.split("\n").map((line) => line.trim()).filter((line) => {
    const opens = !inComment && line.startsWith("/*");
    const comment = inComment || opens || line.startsWith("//") || line === "";
    if (opens || inComment) inComment = !line.endsWith("*/");
    return !comment;
  }).join("\n");
}

// 130 KB: the page holds its own reasons for every facility of the browser that can fail, and no framework. Compressed it is under 35 KB.
test("all assets together are smaller than 130 KB before compression", () => {
  const sizes = Object.fromEntries([...scripts, "style.css", "favicon.svg", "strings/en.json"].map((name) => [name, Buffer.byteLength(served(read(name)))]));
  const total = Object.values(sizes).reduce((sum, size) => sum + size);
  assert.ok(total < 130 * 1024, `${total} bytes: ${JSON.stringify(sizes)}`);
});

test("no text spans lines, so that lines may be served trimmed", () => {
  for (const name of scripts) {
    for (const line of served(read(name)).split("\n")) assert.ok((line.match(/`/g) ?? []).length % 2 === 0, `${name}: ${line}`);
    assert.doesNotMatch(read(name), /^\s*\/\*.*\*\/./m, `${name}: code after a comment that begins the line`);
  }
});

test("only facilities.js touches facilities of the browser that can fail", () => {
  const facilities = /\b(localStorage|sessionStorage|indexedDB|IDBKeyRange|navigator|matchMedia|ResizeObserver|Notification|BroadcastChannel|serviceWorker|clipboard)\b(?!["])|\b(CSS|crypto|history|document)\.(supports|getRandomValues|randomUUID|pushState|hidden|hasFocus|visibilityState)|AbortSignal\./;
  for (const name of scripts.filter((each) => each !== "facilities.js")) {
    for (const line of served(read(name)).split("\n")) {
      const code = line.replace(/"[^"]*"/g, '""').replace(/`[^`]*`/g, "``").replace(/\/[/*].*$/, "");
      assert.doesNotMatch(code, facilities, `${name}: ${line}`);
    }
  }
});
