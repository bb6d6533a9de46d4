/** Types of the state machine. `vectors/README.md` explains events, effects, states and entries. */

/**
 * One message of the outbox. It belongs to a user and outlives the page. `at` is the time of writing by the device's clock, raised where needed so that it
 * orders the outbox; `tried` is the time of the first attempt, null before it.
 */
export interface Entry {
  user: string; room: string; id: string; text: string; at: number; tried: number | null;
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
  | { type: "probed"; socket: number; status: number; user?: string; login?: string; retry_after_ms?: number }
  | { type: "frame"; socket: number; frame: Frame }
  | { type: "closed"; socket: number; code: number }
  | { type: "join"; room: string; recent?: number } | { type: "leave"; room: string }
  | { type: "outbox"; room: string; entries: Entry[] }
  | { type: "send"; room: string; id: string; text: string; after?: number }
  | { type: "retry"; room: string; id: string } | { type: "discard"; room: string; id: string }
  | { type: "history"; room: string; before?: string | null; limit?: number }
  | { type: "typing"; room: string };

export type StateEffect =
  | { do: "state"; state: "connecting" | "closed" }
  | { do: "state"; state: "connected"; user: string; instance: string }
  | { do: "state"; state: "waiting" | "offline"; cause: string; retry_at?: number; code?: number }
  | { do: "state"; state: "ended" | "down"; cause: string };

export type Effect =
  | StateEffect
  | { do: "probe"; socket: number } | { do: "open"; socket: number } | { do: "close"; socket: number }
  | { do: "transmit"; socket: number; frame: Frame }
  | { do: "load"; user: string; room: string } | { do: "entry"; entry: Entry }
  | { do: "joined"; room: string; head: string; resumed: boolean; gap: boolean }
  | { do: "caught_up"; room: string; missed: number }
  | { do: "message"; room: string; message: Message; own: boolean }
  | { do: "history"; room: string; before: string | null; messages: Message[]; more: boolean }
  | { do: "history_failed"; room: string; before: string | null; code: string }
  | { do: "presence"; room: string; count: number; here: string[] | null; came: string[]; went: string[] }
  | { do: "typing"; room: string; user: string }
  | { do: "refused"; code: string; room?: string; detail?: string };

/** `gone`: not subscribed on this socket. `joining`: `join` was sent. `behind`: `joined` has come, its `head` has not. `live`: caught up. */
export interface Room {
  name: string; recent: number; phase: "gone" | "joining" | "behind" | "live";
  last: string | null; head: string; resuming: boolean; missed: number; seen: Set<string>;
  loaded: boolean; sending: string | null; refusals: number; sendAt: number; rejoinAt: number | null;
  paging: { before: string | null } | null; typedAt: number; here: Set<string> | null;
}
