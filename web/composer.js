/** The field for messages, and the drafts in it. It also edits a message, and answers one. */

import { button, element, find } from "./dom.js";
import { growsByStyle, hasTouchKeyboard } from "./facilities.js";
import { excerpt, reason } from "./render.js";
import { isBlank, refusal, startText, TEXT_BYTES } from "./text.js";

/** What the text in the field becomes, other than a message. @typedef {{kind: "edit" | "answer", message: import("./content.js").Amended}} Aim */

/**
 * @param {object} parts
 * @param {ReturnType<typeof import("./render.js").speaker>} parts.say
 * @param {import("./trunkline.js").Client} parts.client
 * @param {ReturnType<typeof import("./drafts.js").draftStore>} parts.drafts
 * @param {() => string} parts.room the room that is shown
 * @param {() => void} parts.changed the drafts have changed
 * @returns {{show: () => void, begin: (aim: Aim) => void}} `show`: shows the draft of the current room; `begin`: an answer or an edit. The draft is kept
 *   while a message is edited
 */
export function composer({ say, client, drafts, room, changed: draftsChanged }) {
  const form = find("composer", HTMLFormElement);
  const text = find("text", HTMLTextAreaElement);
  const error = find("text-error");
  const sends = [...form.querySelectorAll("button")];
  const grows = growsByStyle();
  const size = element("span", "");
  size.ariaHidden = "true";
  /** The room whose draft is in the field; null before the first. @type {string | null} */
  let held = null;
  /** @type {Aim | null} */
  let aim = null;
  const about = element("span", "");
  const cancel = button(say("composer.cancel"), () => end());
  const line = element("p", "aim quiet", about, " ", cancel);
  about.id = "aim";
  about.dir = "auto";

  /** @param {Aim} next */
  const begin = (next) => {
    end();
    aim = next;
    const { user, name = user, text: shown = "" } = next.message;
    about.textContent = next.kind === "edit" ? say("composer.editing") : say("message.answers", { user: name, text: excerpt(shown) });
    form.prepend(line);
    text.setAttribute("aria-describedby", "aim text-error");
    if (next.kind === "edit") text.value = shown;
    showState();
    text.focus();
  };
  /** Ends an answer or an edit, and shows the draft. */
  const end = () => {
    if (!aim) return;
    aim = null;
    line.remove();
    text.setAttribute("aria-describedby", "text-error");
    text.value = drafts.read(room());
    showState();
    text.focus();
  };
  const showState = () => {
    const tooLong = refusal(text.value) === "too_long";
    if (tooLong) {
      // The number changes with each key and is not read aloud; the sentence is, once.
      size.textContent = say("composer.size", { bytes: new TextEncoder().encode(text.value).length, most: TEXT_BYTES });
      if (!error.contains(size)) error.replaceChildren(say("composer.too_long"), " ", size);
    } else {
      error.textContent = "";
    }
    text.ariaInvalid = String(tooLong);
    if (grows) return;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
  };
  const changed = () => {
    if (aim?.kind !== "edit") drafts.write(room(), text.value);
    draftsChanged();
    showState();
  };
  text.enterKeyHint = hasTouchKeyboard() ? "enter" : "send";
  text.addEventListener("input", () => {
    changed();
    if (!isBlank(text.value)) client.typing(room());
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) return end();
    // Enter that ends a composition (Chinese, Japanese, …) chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    // A touch keyboard has no Shift+Enter: there, Enter breaks the line, and the button sends.
    if (hasTouchKeyboard() && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isBlank(text.value) || document.body.dataset.state === "ended") return;
    const refused = refusal(text.value);
    if (refused === "too_long") return showState();
    if (refused) {
      error.textContent = reason(refused, say);
      return;
    }
    if (!client.isIn(room())) {
      error.textContent = reason("not_joined", say);
      return;
    }
    if (aim?.kind === "edit") {
      if (text.value !== aim.message.text) client.edit(room(), aim.message.pos, text.value);
      return end();
    }
    client.send(room(), aim ? { text: text.value, ref: aim.message.pos } : text.value);
    text.value = "";
    changed();
    end();
    text.focus();
  });
  client.on("state", ({ state }) => {
    for (const each of sends) each.disabled = state === "ended";
  });
  // The draft of another tab, as long as this tab has written none.
  addEventListener("storage", ({ key, oldValue }) => {
    if (aim?.kind === "edit" || key !== drafts.keyOf(room()) || text.value !== (oldValue ?? "")) return;
    text.value = drafts.read(room());
    showState();
  });
  for (const each of sends) each.disabled = false;

  const show = () => {
    // An answer or an edit belongs to the room in which it was begun.
    if (held !== room()) end();
    const draft = drafts.read(room());
    // Text that was typed before the script had started stands in the field.
    const wanted = held === null ? startText(draft, text.value) : draft;
    if (text.value !== wanted) text.value = wanted;
    held = room();
    text.placeholder = say("composer.hint", { room: held });
    if (text.value === draft) showState();
    else changed();
    // On a touch screen the keyboard would cover the messages.
    if (!hasTouchKeyboard()) text.focus();
  };
  return { show, begin };
}
