/** Types of the state machine. `vectors/README.md` explains events, effects, states and entries. */

/** What a `send` carries: a message, an application event or an amendment. `docs/PROTOCOL.md` lists the forms. */
export interface Content { text?: string; event?: string; ref?: string; data?: any }

/**
 * One entry of the outbox. It belongs to a user and outlives the page. `at` is the time of writing by the device's clock, raised where needed so that it
 * orders the outbox; `tried` is the time of the first attempt, null before it.
 */
export interface Entry extends Content {
  user: string; room: string; id: string; at: number; tried: number | null;
  state: "pending" | "failed" | "unsure" | "sent" | "discarded"; code?: string; pos?: string;
}

/** An entry of a room's log: see "Entries" in `docs/PROTOCOL.md`. */
export interface Message {
  pos: string; id: string; user: string; name?: string; event?: string; ref?: string; text?: string; data?: any; deleted?: boolean; at: number;
}

/** What `fold.js` makes of a chat message or an application event. `edited`: the time of the latest edit. */
export interface Shown extends Message { edited?: number; reactions: { key: string; users: string[] }[] }

/** A user in a room. */
export interface Person { user: string; name?: string }

export type Frame = Record<string, any> & { type: string };

export type Event =
  | { type: "connect" } | { type: "disconnect" } | { type: "tick" }
  | { type: "online" } | { type: "offline" } | { type: "visible" } | { type: "unanswered"; socket: number }
  | { type: "probed"; socket: number; status: number; user?: string; login?: string; expires_in?: number; retry_after_ms?: number }
  | { type: "token"; socket: number; token: string | null }
  | { type: "frame"; socket: number; frame: Frame }
  | { type: "closed"; socket: number; code: number }
  | { type: "join"; room: string; recent?: number } | { type: "leave"; room: string }
  | { type: "outbox"; room: string; entries: Entry[] }
  | ({ type: "send"; room: string; id: string; after?: number } & Content)
  | { type: "retry"; room: string; id: string } | { type: "discard"; room: string; id: string }
  | { type: "history"; room: string; before?: string | null; limit?: number }
  | { type: "typing"; room: string } | { type: "signal"; room: string; event: string; data?: any }
  | { type: "seen"; room: string; pos: string };

export type StateEffect =
  | { do: "state"; state: "connecting" | "closed" }
  | { do: "state"; state: "connected"; user: string; name?: string; instance: string }
  | { do: "state"; state: "waiting" | "offline"; cause: string; retry_at?: number; code?: number }
  | { do: "state"; state: "ended" | "down"; cause: string };

export type Effect =
  | StateEffect
  | { do: "probe"; socket: number } | { do: "open"; socket: number } | { do: "close"; socket: number }
  | { do: "transmit"; socket: number; frame: Frame } | { do: "token"; socket: number }
  | { do: "load"; user: string; room: string } | { do: "entry"; entry: Entry }
  | { do: "joined"; room: string; head: string; resumed: boolean; gap: boolean }
  | { do: "caught_up"; room: string; missed: number }
  | { do: "message"; room: string; message: Message; own: boolean }
  | { do: "history"; room: string; before: string | null; messages: Message[]; more: boolean }
  | { do: "history_failed"; room: string; before: string | null; code: string }
  | { do: "presence"; room: string; count: number; users: Person[] | null; joined: Person[]; left: Person[] }
  | { do: "typing"; room: string; user: string } | { do: "signal"; room: string; user: string; event: string; data: any }
  | { do: "seen"; room: string; pos: string }
  | { do: "refused"; code: string; room?: string; detail?: string };

/**
 * `gone`: not subscribed on this socket. `joining`: `join` was sent. `behind`: `joined` has come, its `head` has not. `live`: caught up.
 * `mark`: the user's read mark as far as it is known here. `marked`: the server's; `markAt`: when the next `seen` may be sent.
 */
export interface Room {
  name: string; recent: number; phase: "gone" | "joining" | "behind" | "live";
  last: string | null; head: string; resuming: boolean; missed: number; shown: Set<string>;
  loaded: boolean; sending: string | null; refusals: number; sendAt: number; rejoinAt: number | null;
  paging: { before: string | null } | null; typedAt: number; people: Map<string, Person> | null;
  mark: string | null; marked: string | null; markAt: number;
}
