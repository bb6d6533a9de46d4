// Machines and a simulated server that crashes, refuses, repeats and forgets. Time and randomness come from a seed, so a failing seed fails again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fold } from "../fold.js";
import { machine } from "../machine.js";
import { seededRandom } from "./random.js";

const ROOM = "lobby";
const REMEMBERED = 600_000;

class World {
  now = 1_000_000;
  #due = [];
  #order = 0;
  constructor(random) {
    this.random = random;
  }
  after(delay, action) {
    this.#due.push({ at: this.now + delay, order: this.#order++, action });
  }
  run(until) {
    for (;;) {
      this.#due.sort((a, b) => a.at - b.at || a.order - b.order);
      if (!this.#due.length || this.#due[0].at > until) break;
      const { at, action } = this.#due.shift();
      this.now = at;
      action();
    }
    this.now = until;
  }
}

/** The log, as all gateways see it. */
class Server {
  log = [];
  ids = new Map();
  sockets = new Set();
  trouble = true;
  epoch = 7;
  resets = 0;
  constructor(world) {
    this.world = world;
  }
  get head() {
    return this.log.at(-1)?.pos ?? "0-0";
  }
  chance(part) {
    return this.trouble && this.world.random() < part;
  }
  /** @returns the position, or null if it amends no message that is there */
  publish(user, id, content) {
    const known = this.ids.get(`${user}:${id}`);
    if (known && this.world.now - known.at < REMEMBERED) return known.pos;
    if (content.event && !this.log.some(({ pos, event }) => pos === content.ref && !event)) return null;
    if (content.event && this.log.some(({ event, ref }) => ref === content.ref && event === "delete")) return null;
    const message = { pos: `${this.epoch}-${this.log.length + 1}`, id, user, ...content, at: this.world.now };
    this.log.push(message);
    this.ids.set(`${user}:${id}`, message);
    for (const socket of this.sockets) if (socket.joined) socket.push({ type: "message", room: ROOM, ...message });
    return message.pos;
  }
  /** The storage loses its end: all sockets are closed. */
  reset() {
    this.resets += 1;
    this.epoch += 1;
    this.log = this.log.slice(0, Math.floor(this.log.length / 2)); // the newest messages are lost
    for (const socket of [...this.sockets]) socket.kill();
  }
}

class Socket {
  joined = false;
  alive = true;
  #clear = 0;
  constructor(server, client, number) {
    Object.assign(this, { server, client, number });
    server.sockets.add(this);
    this.push({ type: "welcome", user: client.user, instance: "gw", ping_interval_ms: 5_000 });
    this.#ping();
  }
  #ping() {
    this.server.world.after(5_000, () => this.alive && (this.push({ type: "ping" }), this.#ping()));
  }
  /** In order, after some delay, and lost if the socket dies before. */
  push(frame) {
    const { world } = this.server;
    this.#clear = Math.max(this.#clear, world.now + world.random() * 40);
    const deliver = () => this.alive && this.client.feed({ type: "frame", socket: this.number, frame });
    world.after(this.#clear - world.now, deliver);
    if (frame.type === "message" && this.server.chance(0.1)) world.after(this.#clear - world.now, deliver);
  }
  receive(frame) {
    this.server.world.after(this.server.world.random() * 30, () => this.alive && this.#take(frame));
  }
  #take(frame) {
    const { server } = this;
    if (frame.type === "join") {
      const from = server.log.findIndex(({ pos }) => pos === frame.after) + 1;
      const resumed = frame.after !== undefined && (from > 0 || (frame.after === "0-0" && !server.resets));
      this.push({ type: "joined", room: ROOM, resumed, head: server.head });
      for (const message of resumed ? server.log.slice(from) : server.log.slice(-frame.recent)) this.push({ type: "message", room: ROOM, ...message });
      this.joined = true;
    } else if (frame.type === "send") {
      const { id } = frame;
      if (server.chance(0.1)) return this.push({ type: "error", code: "rate_limited", room: ROOM, id, retry_after_ms: 50 });
      if (server.chance(0.1)) return this.push({ type: "error", code: "unavailable", room: ROOM, id });
      const { type: _, room: __, id: ___, ...content } = frame;
      const pos = server.publish(this.client.user, id, content);
      if (pos === null) return this.push({ type: "error", code: "not_found", room: ROOM, id });
      if (server.chance(0.1)) return this.push({ type: "error", code: "unavailable", room: ROOM, id }); // the log holds it all the same
      if (server.chance(0.1)) return this.kill(); // the acknowledgement is lost
      this.client.acked.set(id, pos);
      this.push({ type: "sent", room: ROOM, id, pos });
    }
  }
  kill(code = 1006) {
    if (!this.alive) return;
    this.alive = false;
    this.server.sockets.delete(this);
    this.server.world.after(0, () => this.client.feed({ type: "closed", socket: this.number, code }));
  }
}

class Person {
  acked = new Map();
  sent = [];
  stored = new Map();
  pages = 0;
  count = 0;
  constructor(world, server, user) {
    Object.assign(this, { world, server, user });
    this.load();
  }
  /** A page load: only stored entries survive. */
  load() {
    this.page = ++this.pages;
    for (const socket of [...this.server.sockets]) if (socket.client === this) socket.kill();
    this.shown = [];
    this.fold = fold();
    this.gaps = 0;
    this.open = new Map();
    this.machine = machine({ user: this.user, random: this.world.random });
    this.feed({ type: "join", room: ROOM, recent: 1000 });
    this.feed({ type: "connect" });
  }
  feed(event) {
    for (const effect of this.machine.handle(this.world.now, event)) this.carryOut(effect);
    const { machine, page } = this;
    if (machine.wake === null) return;
    const wake = Math.max(machine.wake, this.world.now);
    this.world.after(wake - this.world.now, () => {
      if (this.page === page && machine.wake !== null && machine.wake <= this.world.now) this.feed({ type: "tick" });
    });
  }
  later(event) {
    const page = this.page;
    this.world.after(this.world.random() * 20, () => this.page === page && this.feed(event));
  }
  carryOut(effect) {
    switch (effect.do) {
      case "load": return this.later({ type: "outbox", room: ROOM, entries: [...this.stored.values()] });
      case "probe": return this.later({ type: "probed", socket: effect.socket, ...(this.server.chance(0.2) ? { status: 503 } : { status: 200, user: this.user }) });
      case "open": return void this.open.set(effect.socket, new Socket(this.server, this, effect.socket));
      case "close": return this.open.get(effect.socket)?.kill(1000);
      case "transmit": return this.open.get(effect.socket)?.receive(effect.frame);
      case "joined":
        if (effect.gap) {
          this.shown = [];
          this.fold.clear();
          this.gaps += 1;
        }
        return;
      case "message":
        this.fold.add(effect.message);
        return void this.shown.push(effect.message);
      case "entry":
        if (effect.entry.state === "failed") {
          this.sent.splice(this.sent.indexOf(effect.entry.id), 1);
          this.later({ type: "discard", room: ROOM, id: effect.entry.id });
        }
        if (effect.entry.state === "sent" || effect.entry.state === "discarded") this.stored.delete(effect.entry.id);
        else this.stored.set(effect.entry.id, effect.entry);
    }
  }
  say(text) {
    const id = `${this.user}${this.count++}`;
    this.sent.push(id);
    this.feed({ type: "send", room: ROOM, id, ...this.content(text) });
  }
  /** A message, or an amendment of one that is shown. */
  content(text) {
    const { random } = this.world;
    const messages = this.fold.list().filter(({ deleted }) => !deleted);
    const target = messages[Math.floor(random() * messages.length)];
    if (!target || random() < 0.6) return { text };
    const ref = target.pos;
    const what = random();
    if (what < 0.6) return { event: "react", ref, data: { key: what < 0.3 ? "👍" : "😂", on: random() < 0.7 } };
    return what < 0.9 ? { event: "edit", ref, text } : { event: "delete", ref };
  }
}

/** @returns the server and the people after 120 steps with faults and 120 s without */
function run(seed, { resets = 0, reloads = true } = {}) {
  const random = seededRandom(seed);
  const world = new World(random);
  const server = new Server(world);
  const people = ["ann", "bob", "cai"].map((user) => new Person(world, server, user));
  for (let step = 0; step < 120; step++) {
    world.run(world.now + random() * 800);
    const person = people[Math.floor(random() * people.length)];
    const dies = [...server.sockets][Math.floor(random() * server.sockets.size)];
    const what = random();
    if (what < 0.6) person.say(`${step}`);
    else if (what < 0.75) dies?.kill();
    else if (what < 0.8) dies?.push({ type: "closing", reason: "drain", reconnect_after_ms: 200 });
    else if (what < 0.85 && reloads) person.load();
    else if (what < 0.9) person.feed({ type: "visible" });
    else if (what < 0.92 && resets > server.resets) server.reset();
  }
  server.trouble = false;
  world.run(world.now + 120_000);
  return { server, people };
}

function check({ server, people }, seed) {
  const positions = server.log.map(({ pos }) => pos);
  for (const person of people) {
    const { user, sent, acked, stored, shown, gaps, machine } = person;
    const who = `seed ${seed}, ${user}`;
    assert.equal(stored.size, 0, `${who}: the outbox is empty in the end`);
    const own = server.log.filter((message) => message.user === user).map(({ id }) => id);
    if (server.resets === 0) {
      assert.deepEqual(own, sent, `${who}: each message is written once, in the order it was sent`);
      for (const pos of acked.values()) assert.ok(positions.includes(pos), `${who}: acknowledged, so written`);
      assert.equal(gaps, 0, `${who}: no gap without loss`);
    }
    const seen = shown.map(({ pos }) => pos);
    assert.deepEqual(seen, positions.slice(positions.length - seen.length), `${who}: shown in order, once, without a hole`);
    assert.equal(seen.length, positions.length, `${who}: shown from the first to the last`);
    const folded = fold();
    for (const entry of server.log) folded.add(entry);
    assert.deepEqual(person.fold.list(), folded.list(), `${who}: amendments are folded as in the log`);
    assert.notEqual(machine.wake, null, `${who}: connected`);
  }
}

test("no message is lost, repeated or reordered in 150 runs of crashes, refusals, repetitions, hand-overs and reloads", () => {
  for (let seed = 1; seed <= 150; seed++) check(run(seed), seed);
});

test("after the storage has lost messages, all clients show the same log again in 100 runs", () => {
  for (let seed = 1; seed <= 100; seed++) check(run(seed, { resets: 2 }), seed);
});

test("the simulation contains messages, reloads and a loss of storage", () => {
  const { server, people } = run(3, { resets: 1 });
  assert.ok(server.log.length > 20);
  assert.deepEqual([...new Set(server.log.map(({ event }) => event ?? "message"))].sort(), ["delete", "edit", "message", "react"]);
  assert.equal(server.resets, 1);
  assert.ok(people.some(({ pages }) => pages > 1));
});
