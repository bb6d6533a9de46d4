/** The order of positions in a room's log: see "Values" in `docs/PROTOCOL.md`. */

/** The position before every entry. */
export const ORIGIN = "0-0";

/**
 * Compares two positions of one room: negative if the first is earlier, 0 if they are equal.
 * @param {string} a @param {string} b
 */
export function comparePositions(a, b) {
  const [[epochA, offsetA], [epochB, offsetB]] = [a.split("-"), b.split("-")];
  return compareNumbers(epochA, epochB) || compareNumbers(offsetA, offsetB);
}

/** Whether a position is later than another one; than none at all, each is. @param {string} position @param {string | null} than */
export function isLater(position, than) {
  return than === null || comparePositions(position, than) > 0;
}

/** Decimal numbers without leading zeros; they can be too large for a `Number`. @param {string} [a] @param {string} [b] */
function compareNumbers(a = "", b = "") {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : Number(a > b);
}
