// Counts the messages that Socket.IO clients miss when a server is killed: node recovery.js URL WRITERS READERS ROOMS RATE
//
// Each client joins one room and counts the messages that it receives. Writers repeat a send until it is acknowledged, as
// the Socket.IO page on delivery guarantees advises ("at least once").
//
// Commands on standard input, one per line: `killed` when a server has been killed, `stop` to end the writing. States on
// standard output, one JSON object per line: `writing` when all clients have joined, `result` at the end.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, ...numbers] = process.argv.slice(2);
const [writers, readers, rooms, rate] = numbers.map(Number);
// Time in ms from the last send to the result: sends may be acknowledged and delivered until then.
const SETTLE_MS = 15_000;
// Number of clients that connect at the same time.
const CONCURRENT_CONNECTS = 20;

const report = (state, more) => console.log(JSON.stringify({ state, ...more }));
const acknowledged = Array.from({ length: rooms }, () => []);
const clients = [];
let killedAt;
let writing;

async function connect(number) {
  const answer = await fetch(`${url}/login?name=user-${number}`);
  const cookie = answer.headers.get("set-cookie").split(";")[0];
  const client = { room: number % rooms, received: new Map(), closed: false, back: undefined };
  client.socket = io(url, {
    transports: ["websocket"],
    extraHeaders: { cookie },
    forceNew: true,
  });
  client.socket.on("message", (text) => {
    const id = text.trimEnd();
    client.received.set(id, (client.received.get(id) ?? 0) + 1);
  });
  client.socket.on("disconnect", () => {
    if (killedAt) client.closed = true;
  });
  await new Promise((connected) => {
    client.socket.on("connect", async () => {
      // After a connection state recovery the socket is still in its room.
      if (!client.socket.recovered) await join(client);
      if (client.closed) client.back ??= Date.now() - killedAt;
      connected();
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
      // The same text length as the clients of the other servers.
      await socket.timeout(5000).emitWithAck("send", `room-${room}`, id.padEnd(64));
      return acknowledged[room].push(id);
    } catch {
      // Not acknowledged in time, or the socket was lost: send it again.
    }
  }
}

function result() {
  let [delivered, lost, duplicated] = [0, 0, 0];
  for (const { room, received } of clients) {
    delivered += received.size;
    lost += acknowledged[room].filter((id) => !received.has(id)).length;
    for (const times of received.values()) duplicated += times - 1;
  }
  const closed = clients.filter((client) => client.closed);
  const times = closed.flatMap(({ back }) => back ?? []).sort((a, b) => a - b);
  const quantile = (q) => times[Math.min(times.length - 1, Math.ceil(q * times.length) - 1)] ?? 0;
  report("result", {
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

createInterface({ input: process.stdin }).on("line", (command) => {
  if (command === "killed") killedAt = Date.now();
  if (command === "stop") {
    clearInterval(writing);
    setTimeout(() => {
      result();
      process.exit();
    }, SETTLE_MS);
  }
});

// Writers connect first: `write` uses the first clients.
for (let number = 0; number < writers + readers; number += CONCURRENT_CONNECTS) {
  const end = Math.min(number + CONCURRENT_CONNECTS, writers + readers);
  await Promise.all(Array.from({ length: end - number }, (_, offset) => connect(number + offset)));
}
report("writing");
let next = 0;
writing = setInterval(() => write(next++), 1000 / rate);
