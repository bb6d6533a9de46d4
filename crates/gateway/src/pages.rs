//! The pages, rendered on the server. `web/PAGE.md` is the contract with the scripts: ids, attributes and nesting.

mod chat;
#[cfg(test)]
mod contract;
mod language;
mod layout;
mod login;
mod plain;
mod rooms;
mod status;

pub(crate) use chat::chat;
pub(crate) use language::{Language, Strings};
pub(crate) use login::{Failure, Login, login};
pub(crate) use plain::{forbidden, not_found, unavailable};
pub(crate) use rooms::rooms;
pub(crate) use status::status;
