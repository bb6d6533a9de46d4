//! The command `refresh`: a newer token replaces the identity of a connection.

use std::time::SystemTime;

use trunkline_bus::Bus;
use trunkline_domain::{ErrorCode, Event, Refusal, Token};

use super::handler::{ConnectionHandler, Next};
use crate::{
    identity::{Identity, Unidentified},
    log_limit::info_limited,
    policy::{Action, Policy},
};

impl<B: Bus, P: Policy> ConnectionHandler<B, P> {
    /// Replaces the identity by that of `token`, and leaves the rooms that it does not allow. Later commands of the connection
    /// wait, as they may need the new identity.
    ///
    /// # Errors
    /// - `bad_token` if the token is invalid or another user's. The identity stays as it is.
    /// - `unavailable` if the token cannot be verified now.
    pub(super) async fn refresh(&mut self, token: &Token) -> Result<Next, Refusal> {
        let identity = self.verify(token).await?;
        let left = identity.expires_in(SystemTime::now()).unwrap_or_default();
        self.connection.replace_identity(identity);
        self.send(&Event::Refreshed { expires_in: left.as_secs() });
        let key = self.connection.key;
        let rooms = self.connection.worker.hub().rooms_of(key);
        for room in rooms {
            if let Err(refusal) = self.permit(Action::Join(&room)).await {
                self.connection.worker.hub().leave(key, &room);
                self.send(&Event::Error(refusal.in_room(&room)));
            }
        }
        Ok(Next::Continue)
    }

    /// Returns the identity of a token that may replace that of the connection.
    async fn verify(&self, token: &Token) -> Result<Identity, Refusal> {
        let current = self.connection.identity();
        if current.session().is_some() {
            return Err(bad_token("this socket belongs to a session, which needs no token"));
        }
        match self.verified(token).await {
            Ok(identity) if identity.user() == current.user() => Ok(identity),
            Ok(_) => Err(bad_token("this is the token of another user; open another socket with it")),
            Err(Unidentified::Unavailable(reason)) => {
                info_limited!(reason, "token cannot be checked; the client is asked to retry");
                Err(Refusal::new(
                    ErrorCode::Unavailable,
                    "the token cannot be checked now; send it again in some seconds",
                ))
            }
            Err(refused) => {
                info_limited!(reason = %refused, "token refused");
                Err(bad_token("the token is invalid or has expired; get a new one"))
            }
        }
    }

    #[cfg(feature = "jwt")]
    async fn verified(&self, token: &Token) -> Result<Identity, Unidentified> {
        match &self.state.config.tokens {
            Some(tokens) => tokens.verify(token.reveal()).await,
            None => Err(Unidentified::Invalid("this gateway accepts no tokens".to_owned())),
        }
    }

    #[cfg(not(feature = "jwt"))]
    #[allow(clippy::unused_async, reason = "as with the feature")]
    async fn verified(&self, _: &Token) -> Result<Identity, Unidentified> {
        Err(Unidentified::Invalid("this gateway accepts no tokens".to_owned()))
    }
}

fn bad_token(detail: &str) -> Refusal {
    Refusal::new(ErrorCode::BadToken, detail)
}
