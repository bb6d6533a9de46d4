//! Refreshing the identity of an open socket before its token expires.

use trunkline_domain::{Command, Millis, Token};

use super::{ClientCore, ClientEffect, SocketId};

/// Shortest time from one token to the next, in ms.
const MIN_TOKEN_TIME_MS: Millis = 1_000;

impl ClientCore {
    /// When to replace a token that ends in `expires_in` seconds: after 80 % of its time.
    pub(super) fn refresh_time(&self, expires_in: u64) -> Millis {
        let used = expires_in.saturating_mul(800).max(MIN_TOKEN_TIME_MS);
        self.now.saturating_add(used)
    }

    /// Asks the source for a token if it is time to.
    pub(super) fn tick_token(&mut self) {
        let now = self.now;
        if self.connection.active.as_ref().and_then(|active| active.refresh_at).is_some_and(|at| at <= now) {
            self.ask_for_token();
        }
    }

    fn ask_for_token(&mut self) {
        if let Some(active) = &mut self.connection.active {
            active.refresh_at = None;
            self.effects.push_back(ClientEffect::Token { socket: active.socket });
        }
    }

    /// Handles the answer of the source.
    pub(super) fn token(&mut self, socket: SocketId, token: Option<Token>) {
        let Some(active) = self.connection.active.as_mut().filter(|active| active.socket == socket) else { return };
        match token {
            Some(token) => self.transmit(Command::Refresh { token }),
            None => {
                let failures = active.failed_tokens;
                active.failed_tokens = failures.saturating_add(1);
                self.ask_later(failures);
            }
        }
    }

    /// Handles `bad_token`. The identity stays as it is: the next token is asked for at once, later ones with back-off.
    pub(super) fn token_refused(&mut self) {
        let Some(active) = self.connection.active.as_mut().filter(|_| self.has_tokens) else { return };
        active.failed_tokens = active.failed_tokens.saturating_add(1);
        match active.failed_tokens {
            0 | 1 => self.ask_for_token(),
            more => self.ask_later(more - 2),
        }
    }

    fn ask_later(&mut self, failures: u32) {
        let at = self.now.saturating_add(self.back_off_delay(failures));
        if let Some(active) = &mut self.connection.active {
            active.refresh_at = Some(at);
        }
    }

    pub(super) fn refreshed(&mut self, expires_in: u64) {
        let refresh_at = self.refresh_time(expires_in);
        if let Some(active) = &mut self.connection.active {
            active.failed_tokens = 0;
            active.refresh_at = Some(refresh_at);
        }
    }
}
