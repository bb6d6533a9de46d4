//! What an application does with its gateway: publish, read the log and the presence of a room, disconnect a user.

use trunkline_bus::{Bus, BusError, InstanceRegistry, Page, PresenceStore, Range, Receipt, SharedLimits};
use trunkline_domain::{Member, Room, UserId};
use trunkline_session::{SessionError, Sessions};

use crate::{
    Gateway,
    fanout::Control,
    policy::Policy,
    publication::{Publication, PublishError},
};

impl<B: Bus + PresenceStore + InstanceRegistry + SharedLimits, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// Appends a message to the room's log and delivers it to every member, on all instances. No policy and no rate limit
    /// applies.
    ///
    /// ```
    /// # use trunkline_bus::{LocalBus, LocalConfig};
    /// # use trunkline_gateway::{Config, Gateway};
    /// # use trunkline_session::MemorySessions;
    /// use serde_json::json;
    /// use trunkline_bus::Range;
    /// use trunkline_gateway::Publication;
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// # let config = Config::default();
    /// # let sessions = MemorySessions::in_memory(config.lifetimes);
    /// # let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config)?;
    /// let room = "orders.42".parse()?;
    /// let shipped = Publication::event("shipped", json!({"by": "ups"})).id("order-42");
    /// let receipt = gateway.publish(&room, shipped.clone()).await?;
    /// // Repeating it appends nothing.
    /// assert!(gateway.publish(&room, shipped).await?.repeated);
    /// assert_eq!(gateway.history(&room, Range::Latest(10)).await?.head, receipt.pos);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// - [`Invalid`](PublishError::Invalid), [`NotFound`](PublishError::NotFound): nothing was written.
    /// - [`Unavailable`](PublishError::Unavailable): the message may or may not have been written; repeat it with the same id.
    pub async fn publish(&self, room: &Room, publication: Publication) -> Result<Receipt, PublishError> {
        Ok(self.state.publish(room, publication.draft()?).await?)
    }

    /// Reads part of the room's log. Deleted texts are left out.
    ///
    /// # Errors
    /// The log cannot be read now. Retry later.
    pub async fn history(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        self.state.read(room, range).await
    }

    /// Returns the users in the room, on all instances, ordered by id.
    ///
    /// # Errors
    /// Presence cannot be read now. Retry later.
    pub async fn presence(&self, room: &Room) -> Result<Vec<Member>, BusError> {
        let snapshot = self.state.bus.snapshot(room).await?;
        let mut members: Vec<Member> = snapshot.instances.into_iter().flat_map(|(_, users)| users).collect();
        members.sort_unstable();
        members.dedup();
        Ok(members)
    }

    /// Ends every session of the user, and closes their sockets on all instances with code 4401, within 1 s. An instance that
    /// cannot receive the notice meanwhile closes sockets of sessions within 65 s, and others when their identity ends.
    ///
    /// # Errors
    /// Some sessions may go on, and some sockets stay open. Try again.
    pub async fn disconnect(&self, user: &UserId) -> Result<(), DisconnectError> {
        self.site.sessions.end_user(user, None).await?;
        let notice = Control::Disconnect(user.clone()).encode();
        Ok(self.state.bus.publish_ephemeral(&Room::control(), notice).await?)
    }
}

/// A user could not be disconnected. Try again.
#[derive(Debug, thiserror::Error)]
pub enum DisconnectError {
    /// The sessions may go on.
    #[error("ending the sessions failed")]
    Sessions(#[from] SessionError),
    /// The sockets of some instances stay open.
    #[error("notifying the instances failed")]
    Bus(#[from] BusError),
}
