// A chat server with Socket.IO and Redis, configured as its documentation advises for production; see ../README.md.
//
// Environment: ADAPTER is `redis` (pub/sub) or `streams` (with connection state recovery); PORT; REDIS_URL.

import { createServer } from "node:http";
import { createAdapter as createPubSubAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";
import { Server } from "socket.io";

const { ADAPTER, PORT, REDIS_URL } = process.env;

async function connect(client) {
  client.on("error", (error) => console.error(error));
  await client.connect();
  return client;
}

const client = await connect(createClient({ url: REDIS_URL }));
const sessions = session({
  store: new RedisStore({ client }),
  secret: "a benchmark on loopback",
  resave: false,
  saveUninitialized: false,
});

const app = express();
// Health check of the balancer. It is registered before the session middleware, which it does not need.
app.get("/readyz", (_, response) => response.send("ready"));
app.use(sessions);
app.get("/login", (request, response) => {
  request.session.name = request.query.name;
  response.send("logged in");
});

const server = createServer(app);
const recovery = { connectionStateRecovery: { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: true } };
const io = new Server(server, {
  adapter:
    ADAPTER === "streams"
      ? createStreamsAdapter(client)
      : createPubSubAdapter(client, await connect(client.duplicate())),
  transports: ["websocket"],
  perMessageDeflate: false,
  ...(ADAPTER === "streams" && recovery),
});

// Looks the session up once per socket, at the handshake.
const atHandshake = (middleware) => (request, response, next) =>
  request._query.sid === undefined ? middleware(request, response, next) : next();
io.engine.use(atHandshake(sessions));
io.engine.use(
  atHandshake((request, response, next) => {
    if (request.session.name) return next();
    response.writeHead(401);
    response.end();
  }),
);
// Releases the memory of the handshake request, which is not needed after the handshake.
io.engine.on("connection", (socket) => {
  socket.request = null;
});

io.on("connection", (socket) => {
  socket.on("join", async (room, done) => {
    await socket.join(room);
    done("joined");
  });
  socket.on("leave", async (room, done) => {
    await socket.leave(room);
    done?.("left");
  });
  socket.on("send", (room, text, done) => {
    io.to(room).emit("message", text);
    done("sent");
  });
});

server.listen(PORT, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${PORT}`));
