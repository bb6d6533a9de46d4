// Compares docs/PROTOCOL.md with this client: it sends the frames of the document, and understands them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { machine } from "../machine.js";

const text = readFileSync(new URL("../../docs/PROTOCOL.md", import.meta.url), "utf8");

/** The frames of all fenced blocks with this info string, one per line. */
const frames = (info) => [...text.matchAll(new RegExp("^```json " + info + "\\n([^]*?)^```", "gm"))].flatMap(([, lines]) => lines.trim().split("\n").map((line) => JSON.parse(line)));
/** First cells of the table below a heading. */
const codes = (heading) => text.split(heading)[1].split(/^#+ /m)[0].split("\n").filter((line) => line.startsWith("|")).slice(2).map((line) => line.split("|")[1].trim().replaceAll("`", ""));

/** A machine with a source of tokens that is connected, with the `welcome` of the document, and in `rooms`. */
const connected = (...rooms) => connectedWith({ tokens: true }, ...rooms);

function connectedWith(options, ...rooms) {
  const client = machine({ user: "ann", random: () => 0.5, ...options });
  const out = [];
  const handle = (at, event) => out.push(...client.handle(at, event));
  for (const room of rooms) handle(0, { type: "join", room });
  handle(0, { type: "connect" });
  handle(0, { type: "probed", socket: 1, status: 200, user: "ann", expires_in: 1 });
  const [welcome] = frames("server").filter((frame) => frame.type === "welcome");
  handle(1, { type: "frame", socket: 1, frame: welcome });
  return { handle, take: () => out.splice(0) };
}

const joined = (room, head = "0-0") => ({ type: "frame", socket: 1, frame: { type: "joined", room, resumed: false, head } });

test("frames that the client sends have the form of the document's examples", () => {
  const { handle, take } = connected("lobby");
  handle(2, joined("lobby"));
  handle(2, { type: "outbox", room: "lobby", entries: [] });
  handle(3, { type: "send", room: "lobby", id: "5f0c9b1e", text: "hi" });
  handle(4_000, { type: "typing", room: "lobby" });
  handle(4_000, { type: "signal", room: "lobby", event: "cursor", data: { x: 12 } });
  handle(4_000, { type: "seen", room: "lobby", pos: "1732270000000-813" });
  handle(4_000, { type: "token", socket: 1, token: "t.t.t" });
  handle(4_001, { type: "history", room: "lobby", before: "1732270000000-700", limit: 50 });
  handle(4_002, { type: "frame", socket: 1, frame: { type: "ping" } });
  handle(4_003, { type: "leave", room: "lobby" });
  const sent = take().filter((effect) => effect.do === "transmit").map((effect) => effect.frame);
  const shown = frames("client").filter((frame) => frame.type !== "send");
  for (const type of new Set(shown.map((frame) => frame.type))) {
    const mine = sent.find((frame) => frame.type === type);
    assert.ok(mine, `a ${type} was sent`);
    const fields = new Set(shown.filter((frame) => frame.type === type).flatMap(Object.keys));
    for (const field of Object.keys(mine)) assert.ok(fields.has(field), `${type}: ${field} is in the document`);
  }
});

test("every form of `send` in the document is sent as it is there", () => {
  for (const { type, room, id, ...content } of frames("client").filter((frame) => frame.type === "send")) {
    const { handle, take } = connected(room);
    handle(2, joined(room));
    handle(2, { type: "outbox", room, entries: [] });
    take();
    handle(3, { type: "send", room, id, ...content });
    const [sent] = take().filter((effect) => effect.do === "transmit");
    const withData = content.event === "closed" ? { ...content, data: null } : content;
    assert.deepEqual(sent.frame, { type, room, id, ...withData });
  }
});

test("every server frame of the document is understood", () => {
  const does = { joined: "joined", message: "message", presence: "presence", typing: "typing", signal: "signal", seen: "seen" };
  for (const frame of frames("server")) {
    const { handle, take } = connected(frame.room ?? "lobby");
    if (frame.type !== "joined") handle(2, joined(frame.room ?? "lobby"));
    if (frame.type === "history") handle(3, { type: "history", room: frame.room, before: frame.before });
    if (frame.code === "bad_token") handle(3, { type: "token", socket: 1, token: "t.t.t" });
    take();
    handle(4, { type: "frame", socket: 1, frame });
    const effects = take();
    if (frame.type === "history") assert.deepEqual(effects.map((each) => each.do), ["history"]);
    if (frame.type === "message") {
      const { type, room, ...message } = frame;
      assert.deepEqual(effects.find((each) => each.do === "message").message, message);
    }
    if (frame.code === "bad_token") assert.deepEqual(effects, [{ do: "token", socket: 1 }]);
    if (frame.type === "joined" && frame.seen) assert.ok(effects.some((each) => each.do === "seen" && each.pos === frame.seen));
    if (does[frame.type]) assert.ok(effects.some((each) => each.do === does[frame.type]), JSON.stringify(frame));
  }
});

test("the client handles each close code as the table of the document says", () => {
  const rows = codes("### Close codes");
  assert.ok(rows.length > 8);
  for (const code of rows.map(Number)) {
    const { handle, take } = connectedWith({}, "lobby");
    take();
    handle(20_000, { type: "closed", socket: 1, code });
    const states = take().filter((effect) => effect.do === "state").map((effect) => effect.state);
    const expected = code === 4401 ? "ended" : code === 4409 ? "down" : "waiting";
    assert.deepEqual(states, [expected], String(code));
    const tokens = connected("lobby");
    tokens.take();
    tokens.handle(20_000, { type: "closed", socket: 1, code });
    const withTokens = tokens.take().filter((effect) => effect.do === "state").map((effect) => effect.state);
    assert.deepEqual(withTokens, [code === 4401 ? "waiting" : expected], `${code} with a source of tokens`);
  }
});

test("the document's rate limit is waited for, then the message is repeated under its id", () => {
  const [error] = frames("server").filter((frame) => frame.type === "error");
  const { handle, take } = connected(error.room);
  const repeated = () => take().filter((effect) => effect.do === "transmit" && effect.frame.type === "send").map((effect) => effect.frame.id);
  handle(2, joined(error.room));
  handle(2, { type: "outbox", room: error.room, entries: [] });
  handle(3, { type: "send", room: error.room, id: error.id, text: "hi" });
  assert.deepEqual(repeated(), [error.id]);
  handle(4, { type: "frame", socket: 1, frame: error });
  handle(3 + error.retry_after_ms, { type: "tick" });
  assert.deepEqual(repeated(), []);
  handle(4 + error.retry_after_ms, { type: "tick" });
  assert.deepEqual(repeated(), [error.id]);
});
