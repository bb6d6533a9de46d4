/** Which rooms a person has opened in this browser, and how far each was read. All tabs share it. */

/** With more than these, the one that was opened longest ago is forgotten. */
export const ROOMS_MOST = 20;

/**
 * The room opened last comes first; `read` is the position of the last message seen there, or empty.
 * @typedef {[room: string, read: string][]} List
 */

/** @param {Pick<Storage, "getItem" | "setItem">} storage @param {string} user */
export function openRooms(storage, user) {
  const key = `trunkline:rooms:${user}`;
  /** @returns {List} */
  const list = () => JSON.parse(storage.getItem(key) ?? "[]");
  /** @param {List} rooms */
  const keep = (rooms) => storage.setItem(key, JSON.stringify(rooms.slice(0, ROOMS_MOST)));
  /** @param {string} room */
  const others = (room) => list().filter(([each]) => each !== room);
  return {
    /** What it is stored under. */
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
