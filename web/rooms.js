/** Which rooms a person has opened in this browser, and how far each was read. All tabs share it. */

/** Maximum number of rooms; beyond it, the room that was opened longest ago is forgotten. */
export const ROOMS_MOST = 20;

/**
 * The room opened last comes first; `read` is the position of the last message seen there, or empty.
 * @typedef {[room: string, read: string][]} List
 */

/** @param {Pick<Storage, "getItem" | "setItem">} storage @param {string} user */
export function openRooms(storage, user) {
  const key = `trunkline:rooms:${user}`;
  const list = () => parsed(storage.getItem(key));
  /** @param {List} rooms */
  const keep = (rooms) => storage.setItem(key, JSON.stringify(rooms.slice(0, ROOMS_MOST)));
  /** @param {string} room */
  const others = (room) => list().filter(([each]) => each !== room);
  return {
    /** The key in the storage. */
    key,
    list,
    /** @param {string} room */
    open: (room) => keep([list().find(([each]) => each === room) ?? [room, ""], ...others(room)]),
    /** @param {string} room */
    leave: (room) => keep(others(room)),
    /** @param {string} room @param {string} position */
    read: (room, position) => keep(list().map(([each, read]) => [each, each === room ? position : read])),
  };
}

/** The list, or none: a storage can hold what this page did not write. @param {string | null} text @returns {List} */
function parsed(text) {
  try {
    const rooms = JSON.parse(text ?? "[]").filter((/** @type {any} */ each) => Array.isArray(each) && /^[a-z0-9][a-z0-9._-]{0,63}$/.test(each[0]) && typeof each[1] === "string" && /^(\d+-\d+)?$/.test(each[1]));
    return [...new Map(rooms.map((/** @type {[string, string]} */ [room, read]) => [room, read]))];
  } catch {
    return [];
  }
}
