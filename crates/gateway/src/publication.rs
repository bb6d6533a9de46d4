//! Messages that the application itself sends.

use rand::distr::{Alphanumeric, SampleString};
use serde::Serialize;
use trunkline_bus::{BusError, ErrorKind};
use trunkline_domain::{
    Content, Data, DisplayName, Draft, InvalidContent, InvalidId, InvalidUserId, MessageId, Position, UserId,
};

/// A message that the application sends with [`Gateway::publish`](crate::Gateway::publish), as any user.
///
/// Values are checked when it is published.
///
/// ```
/// use serde_json::json;
/// use trunkline_gateway::Publication;
///
/// let shipped = Publication::event("shipped", json!({"by": "ups"})).user("billing").id("order-42");
/// let hello = Publication::text("Welcome!");
/// ```
#[derive(Clone, Debug)]
pub struct Publication {
    user: Option<String>,
    name: Option<DisplayName>,
    id: Option<String>,
    content: Result<Content, InvalidPublication>,
}

/// The user of a publication that names none. No user can claim it as a name.
const DEFAULT_USER: &str = "server";
/// Length of a random message id, in characters: 142 bits.
const RANDOM_ID_CHARS: usize = 24;

impl Publication {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::of(Content::from_body(None, None, text))
    }

    /// An event with `data`, at most 16 KiB as JSON.
    pub fn event(event: &str, data: impl Serialize) -> Self {
        let data = Data::encode(&data).map_err(InvalidContent::Data);
        let content = data.and_then(|data| {
            let event = event.parse().map_err(InvalidContent::Event)?;
            Ok(Content::Event { event, data })
        });
        Self::of(content)
    }

    /// Deletes the text at `position`, of any author.
    #[must_use]
    pub fn deletion(position: Position) -> Self {
        Self::of(Ok(Content::Delete { of: position }))
    }

    fn of(content: Result<Content, InvalidContent>) -> Self {
        Self { user: None, name: None, id: None, content: content.map_err(InvalidPublication::Content) }
    }

    /// Sets the user, `server` otherwise.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the name that people see in place of the user id.
    #[must_use]
    pub fn named(mut self, name: DisplayName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the message id, a random one otherwise. Repeating a publication with the same user and id within ten minutes
    /// appends nothing.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The draft.
    ///
    /// # Errors
    /// The first value that is invalid.
    pub(crate) fn draft(self) -> Result<Draft, InvalidPublication> {
        let user: UserId = self.user.as_deref().unwrap_or(DEFAULT_USER).parse()?;
        let random = || Alphanumeric.sample_string(&mut rand::rng(), RANDOM_ID_CHARS);
        let id: MessageId = self.id.unwrap_or_else(random).parse()?;
        let name = self.name.filter(|name| name.as_str() != user.as_str());
        Ok(Draft { id, user, name, content: self.content?, may_moderate: true })
    }
}

/// Why a [`Publication`] cannot be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublication {
    /// The text, the name of the event, or the data.
    #[error(transparent)]
    Content(InvalidContent),
    /// The user id.
    #[error(transparent)]
    User(#[from] InvalidUserId),
    /// The message id.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

/// A message was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The publication is invalid. Nothing was written.
    #[error(transparent)]
    Invalid(#[from] InvalidPublication),
    /// The text to delete is not retained, or was deleted. Nothing was written.
    #[error("the message to amend is not a retained text")]
    NotFound,
    /// The log did not answer, or refused the message. It may or may not have been written: repeat the publication with the
    /// same [id](Publication::id).
    #[error(transparent)]
    Unavailable(BusError),
}

impl From<BusError> for PublishError {
    fn from(error: BusError) -> Self {
        if error.kind() == ErrorKind::NotFound { Self::NotFound } else { Self::Unavailable(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_checked_when_they_are_published() {
        let draft = Publication::event("shipped", [1, 2]).id("order-42").draft().unwrap();
        assert_eq!((draft.user.as_str(), draft.id.as_str()), ("server", "order-42"));
        let [one, other] = [(); 2].map(|()| Publication::text("hi").draft().unwrap().id);
        assert_ne!(one, other, "each id is random");
        assert!(matches!(Publication::text(" ").draft(), Err(InvalidPublication::Content(_))));
        assert!(matches!(Publication::event("Shipped", ()).draft(), Err(InvalidPublication::Content(_))));
        assert!(matches!(Publication::text("hi").user("a b").draft(), Err(InvalidPublication::User(_))));
        assert!(matches!(Publication::text("hi").id("a b").draft(), Err(InvalidPublication::Id(_))));
    }
}
