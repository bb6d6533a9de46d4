// What clients of Socket.IO miss when a server is killed: node recovery.js URL WRITERS READERS ROOMS RATE
//
// All clients are in one of the rooms and count what they see. Sends are repeated until they are acknowledged, as the page
// on delivery guarantees advises ("at least once"). Orders come on standard input, a word a
// line: `killed` when a server is killed, `stop` to end the writing. States go to standard output as JSON, a line each:
// `writing` when all are in, `result` in the end.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, ...numbers] = process.argv.slice(2);
const [writers, readers, rooms, rate] = numbers.map(Number);
// How long what was written may take to be acknowledged and shown, once the writing has ended.
const SETTLE = 15_000;
// How many clients come in at once.
const AT_ONCE = 20;

const tell = (state, more) => console.log(JSON.stringify({ state, ...more }));
const acknowledged = Array.from({ length: rooms }, () => []);
const clients = [];
let killedAt;
let writing;

async function enter(number) {
  const answer = await fetch(`${url}/login?name=user-${number}`);
  const cookie = answer.headers.get("set-cookie").split(";")[0];
  const client = { room: number % rooms, seen: new Map(), closed: false, back: undefined };
  client.socket = io(url, {
    transports: ["websocket"],
    extraHeaders: { cookie },
    forceNew: true,
  });
  client.socket.on("message", (text) => {
    const id = text.trimEnd();
    client.seen.set(id, (client.seen.get(id) ?? 0) + 1);
  });
  client.socket.on("disconnect", () => {
    if (killedAt) client.closed = true;
  });
  await new Promise((entered) => {
    client.socket.on("connect", async () => {
      // Recovered, a socket is in its room again already.
      if (!client.socket.recovered) await join(client);
      if (client.closed) client.back ??= Date.now() - killedAt;
      entered();
    });
  });
  clients.push(client);
}

function join(client) {
  return new Promise((joined) => client.socket.emit("join", `room-${client.room}`, joined));
}

async function write(number) {
  const { socket, room } = clients[number % writers];
  const id = `message ${number}`;
  for (;;) {
    try {
      // The same length as the other side's.
      await socket.timeout(5000).emitWithAck("send", `room-${room}`, id.padEnd(64));
      return acknowledged[room].push(id);
    } catch {
      // Not acknowledged in time, or the socket was lost: once more.
    }
  }
}

function result() {
  let [delivered, lost, duplicated] = [0, 0, 0];
  for (const { room, seen } of clients) {
    delivered += seen.size;
    lost += acknowledged[room].filter((id) => !seen.has(id)).length;
    for (const times of seen.values()) duplicated += times - 1;
  }
  const closed = clients.filter((client) => client.closed);
  const times = closed.flatMap(({ back }) => back ?? []).sort((a, b) => a - b);
  const quantile = (q) => times[Math.min(times.length - 1, Math.ceil(q * times.length) - 1)] ?? 0;
  tell("result", {
    acknowledged: acknowledged.flat().length,
    delivered,
    lost,
    duplicated,
    closed: closed.length,
    never_back: closed.length - times.length,
    p50: quantile(0.5),
    p99: quantile(0.99),
  });
}

createInterface({ input: process.stdin }).on("line", (order) => {
  if (order === "killed") killedAt = Date.now();
  if (order === "stop") {
    clearInterval(writing);
    setTimeout(() => {
      result();
      process.exit();
    }, SETTLE);
  }
});

// Writers first, so that they have the first numbers.
for (let number = 0; number < writers + readers; number += AT_ONCE) {
  const end = Math.min(number + AT_ONCE, writers + readers);
  await Promise.all(Array.from({ length: end - number }, (_, offset) => enter(number + offset)));
}
tell("writing");
let next = 0;
writing = setInterval(() => write(next++), 1000 / rate);
