/** Logging out: says what will be discarded, and leaves nothing of this login in the browser. */

import { find } from "./dom.js";
import { answered } from "./facilities.js";

/** Maximum time in ms for the answer to a logout. After it the form is sent without script. */
const LOGOUT_TIMEOUT = 5_000;

/** Time in ms for which a message must be unsent before the button mentions it: most are sent sooner. */
const SHOWN_AFTER = 1_500;

/**
 * @param {object} parts
 * @param {ReturnType<typeof import("./render.js").speaker>} parts.say
 * @param {() => number} parts.unsent number of messages that are not sent yet
 * @param {() => boolean} parts.hasDrafts
 * @param {() => Promise<unknown>} parts.forget deletes what the browser keeps of this login
 * @returns {() => void} shows what a logout would discard
 */
export function logout({ say, unsent, hasDrafts, forget }) {
  const form = /** @type {HTMLFormElement} */ (find("user").closest("form"));
  const leave = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    leave.disabled = true;
    try {
      const response = await answered(() => fetch(form.action, { method: "POST", headers: { accept: "application/json" } }), LOGOUT_TIMEOUT);
      if (!response.ok) throw new Error(`logout: ${response.status}`);
      // With an OpenID provider, the logout continues there.
      const next = response.status === 200 ? (await answered(() => response.json(), LOGOUT_TIMEOUT)).logout_url : "/";
      await answered(forget, LOGOUT_TIMEOUT).catch(() => {});
      // "Back" must not bring this page from the browser's memory.
      addEventListener("pageshow", () => location.reload());
      location.assign(next);
    } catch {
      form.submit(); // the browser shows why it fails; nothing was discarded
    }
  });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const show = () => {
    const count = unsent();
    leave.textContent = count ? say("logout.unsent", { count }) : say("logout");
    leave.title = hasDrafts() ? say("logout.drafts") : "";
  };
  return () => {
    clearTimeout(timer);
    if (unsent()) timer = setTimeout(show, SHOWN_AFTER);
    else show();
  };
}
