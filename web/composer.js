/** The field for messages, and the drafts in it. */

import { element, find } from "./dom.js";
import { growsByStyle, hasTouchKeyboard } from "./facilities.js";
import { reason } from "./render.js";
import { isBlank, refusal, startText, TEXT_BYTES } from "./text.js";

/**
 * @param {object} parts
 * @param {ReturnType<typeof import("./render.js").speaker>} parts.say
 * @param {import("./trunkline.js").Client} parts.client
 * @param {ReturnType<typeof import("./drafts.js").draftStore>} parts.drafts
 * @param {() => string} parts.room the room that is shown
 * @param {() => void} parts.changed the drafts have changed
 * @returns {() => void} shows the draft of the current room
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
    drafts.write(room(), text.value);
    draftsChanged();
    showState();
  };
  text.enterKeyHint = hasTouchKeyboard() ? "enter" : "send";
  text.addEventListener("input", () => {
    changed();
    if (!isBlank(text.value)) client.typing(room());
  });
  text.addEventListener("keydown", (event) => {
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
    client.send(room(), text.value);
    text.value = "";
    changed();
    text.focus();
  });
  client.on("state", ({ state }) => {
    for (const each of sends) each.disabled = state === "ended";
  });
  // The draft of another tab, as long as this tab has written none.
  addEventListener("storage", ({ key, oldValue }) => {
    if (key !== drafts.keyOf(room()) || text.value !== (oldValue ?? "")) return;
    text.value = drafts.read(room());
    showState();
  });
  for (const each of sends) each.disabled = false;

  return () => {
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
}
