/** The reader's own messages that are not delivered yet, below the delivered ones. */

import { button, element } from "./dom.js";
import { continues, reason } from "./render.js";

/** @typedef {import("./effects.js").Entry} Entry */

/**
 * @param {object} parts
 * @param {string} parts.user the reader
 * @param {string} parts.room
 * @param {ReturnType<typeof import("./render.js").speaker>} parts.say
 * @param {import("./trunkline.js").Client} parts.client
 * @param {ReturnType<typeof import("./rows.js").rows>} parts.rowOf
 */
export function unsentList({ user: me, room, say, client, rowOf }) {
  const list = element("ol", "");
  list.id = "unsent";

  /** @param {string} id */
  function rowWith(id) {
    return list.querySelector(`[data-id="${id}"]`);
  }

  /** Shows an entry as it is now. @param {Entry} entry @returns {boolean} whether it takes a new place */
  function show(entry) {
    const old = rowWith(entry.id);
    if (entry.state === "discarded" || (entry.state === "sent" && !old)) {
      old?.remove();
      return false;
    }
    const row = drawn(entry);
    if (old && atOf(old) === entry.at) {
      old.replaceWith(row);
      return false;
    }
    old?.remove();
    const later = [...list.children].find((other) => atOf(other) > entry.at);
    list.insertBefore(row, later ?? null);
    return true;
  }

  /** @param {Entry} entry */
  function drawn({ user, id, text, ref, event, at, state, code, pos = "" }) {
    const row = rowOf({ user, text, at, ref: event === undefined ? ref : undefined }, id, false);
    row.classList.add(state);
    row.dataset.id = id;
    row.dataset.at = String(at);
    const fate = element("p", "fate quiet");
    row.append(fate);
    if (state === "sent") {
      fate.append(say("message.sent"));
      fate.title = pos;
    } else if (state === "pending") {
      // "sending" only while there is a connection: the style sheet shows one of the two.
      if (code === undefined) fate.append(element("span", "if-connected", say("message.pending")));
      fate.append(element("span", code === undefined ? "if-disconnected" : "", say("message.delayed")));
    } else {
      fate.append(
        state === "unsure" ? say("message.unsure") : say("message.failed", { reason: reason(code ?? "", say) }),
        " ",
        button(say("message.retry"), () => client.retry(room, id)),
        " ",
        button(say("message.discard"), () => client.discard(room, id)),
      );
    }
    return row;
  }

  /**
   * The first may continue the last delivered message, the others continue the first.
   * @param {import("./render.js").Said | null} last null: another line stands above
   */
  function group(last) {
    [...list.children].forEach((row, index) => {
      const answers = row.querySelector(".quote") !== null;
      const continued = !answers && (index > 0 || continues(last, { user: me, name: last?.name, text: "", at: atOf(row) }));
      row.classList.toggle("first", !continued);
    });
  }

  return {
    list, show, group,
    /** @param {string} id */
    remove: (id) => rowWith(id)?.remove(),
    /** Removes the messages that the server has: they were shown, or are older than the rows. */
    dropSent: () => list.querySelectorAll(".sent").forEach((row) => row.remove()),
  };
}

/** When the message in a row was written. @param {Element} row */
function atOf(row) {
  return Number(/** @type {HTMLElement} */ (row).dataset.at);
}
