/** Rules about the text of messages. Pure: no page, no clock. The vectors in `vectors/text/` pin them. */

/**
 * Code points that show nothing: white space, format characters without a glyph, default ignorable characters, and blank glyphs.
 * `MessageText` in the domain crate has the same list; `vectors/text/blank.json` holds it for both.
 */
const BLANK = /^[\t-\r \x85\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{13430}-\u{1343f}\u{1bca0}-\u{1bca3}\u{1d159}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]*$/u;

/** Whether nothing of a text can be seen. The server refuses such a message as `bad_text`. @param {string} text */
export function isBlank(text) {
  return BLANK.test(text);
}

/** Line ends as the protocol has them, and U+FFFD for lone surrogates. @param {string} text */
export function normalised(text) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text.replace(/\r\n?/g, "\n")));
}

/** Longest text of a message, in bytes of UTF-8. */
export const TEXT_BYTES = 4096;

/**
 * The error code with which the server would refuse this text; null if it would take it.
 * @param {string} text
 * @returns {"bad_text" | "too_long" | null}
 */
export function refusal(text) {
  if (new TextEncoder().encode(normalised(text)).length > TEXT_BYTES) return "too_long";
  return isBlank(text) || /[^\P{Cc}\n\t\r]/u.test(text) ? "bad_text" : null;
}

/** A text with more lines than this, of so many characters each, is shown folded. */
const FOLDED_LINES = 40;
const LINE_CHARACTERS = 80;

/** Whether a text is so long that its beginning is shown first. @param {string} text */
export function isFolded(text) {
  const lines = text.split(/[\n\u2028\u2029]/).reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / LINE_CHARACTERS)), 0);
  return lines > FOLDED_LINES;
}

/** What ends a link: white space, quotes, brackets, punctuation of Chinese, and invisible characters, with which a link could show another address. */
const NOT_IN_LINK = String.raw`[^\s<>"“”«»。，、；：！？（）「」《》\p{Cf}]`;
const HOST = String.raw`(?:[a-z0-9-]+\.)+[a-z]{2,}(?![\w@-])`;
const LINK = new RegExp(
  [
    String.raw`(?<url>\bhttps?:\/\/${NOT_IN_LINK}+)`,
    String.raw`(?<www>(?<![\w.@/-])www\.${HOST}(?:[:/?#]${NOT_IN_LINK}*)?)`,
    String.raw`(?<mail>(?<![\w.%+@/-])[\w.%+-]+@${HOST})`,
  ].join("|"),
  "giu",
);

/**
 * A text in pieces, some of them links: http and https addresses, addresses that begin with `www.`, and e-mail addresses. Punctuation that ends a
 * sentence, or closes a bracket around the link, is not part of it.
 * @param {string} text
 * @returns {{text: string, href?: string}[]}
 */
export function pieces(text) {
  const found = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const link = trimmed(match[0]);
    const href = address(link, match.groups ?? {});
    if (href === null) continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index) });
    found.push({ text: link, href });
    from = match.index + link.length;
  }
  if (from < text.length) found.push({ text: text.slice(from) });
  return found;
}

/** @param {string} link */
function trimmed(link) {
  for (;;) {
    const last = link.at(-1) ?? "";
    const opening = { ")": "(", "]": "[", "}": "{" }[last];
    const closes = opening !== undefined && link.split(opening).length < link.split(last).length;
    if (!closes && !/[.,;:!?'*_~]/.test(last)) return link;
    link = link.slice(0, -1);
  }
}

/** @param {string} link @param {Record<string, string | undefined>} kind */
function address(link, { www, mail }) {
  try {
    if (mail !== undefined) return `mailto:${link}`;
    return new URL(www === undefined ? link : `https://${link}`).href;
  } catch {
    return null;
  }
}

/** Letters of scripts that are written without spaces: a name of another script ends before them. */
const UNSPACED = String.raw`\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}`;

/**
 * Whether a text names the user: `@ann`, but not in `@annabel`, `@ann-marie`, `@ann.b`, `joe@ann` or a link. Compared in normal form and without regard
 * to case. Names of the login consist of letters, marks, digits and `. _ - '`, others of any characters; a possessive `'s` is not part of a name.
 * @param {string} text @param {string} user
 */
export function mentions(text, user) {
  if (!/[@＠]/.test(text)) return false;
  const name = user.normalize("NFC");
  const letter = String.raw`[\p{L}\p{M}\p{N}_]`;
  const spaced = new RegExp(`[${UNSPACED}]`, "u").test(name) ? letter : `(?![${UNSPACED}])${letter}`;
  const before = String.raw`(?<!(?![${UNSPACED}])${letter})`;
  const after = String.raw`(?!${spaced}|[.\-']+(?!(?<=')s(?!${letter}))${spaced})`;
  const mention = new RegExp(`${before}[@＠]${name.replace(/[$()*+.?[\\\]^{|}/]/g, "\\$&")}${after}`, "iu");
  // Names are kept in NFC; some keyboards and programs write compatibility forms.
  return pieces(text).some(({ href, text: piece }) => href === undefined && ["NFC", "NFKC"].some((form) => mention.test(piece.normalize(form).replaceAll("’", "'"))));
}

/** Characters that change the direction of the text around them, and letters that are written from right to left. */
const DIRECTED = /[\u200e\u200f\u202a-\u202e\u2066-\u2069\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** A value for the middle of a sentence: isolated (UAX 9, FSI and PDI) if it could change the direction of the words around it. @param {string} value */
export function isolated(value) {
  return DIRECTED.test(value) ? `\u2068${value}\u2069` : value;
}

/**
 * What the field holds when the script has started: the stored draft, and what was typed before. Nothing of either is lost.
 * @param {string} draft @param {string} typed
 */
export function startText(draft, typed) {
  if (typed === "" || draft.startsWith(typed)) return draft;
  return draft === "" || typed.startsWith(draft) ? typed : `${draft}\n${typed}`;
}
