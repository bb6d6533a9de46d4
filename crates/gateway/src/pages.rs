//! The pages, rendered on the server. `web/PAGE.md` is the contract with the scripts: ids, attributes and nesting of
//! the elements.

mod chat;
#[cfg(test)]
mod contract;
mod language;
pub(crate) mod layout;
mod login;
mod plain;
mod rooms;

pub(crate) use chat::chat;
pub(crate) use language::{PageLanguage, PageStrings};
pub(crate) use login::{LoginFailure, LoginMethods, LoginPage, login};
#[cfg(feature = "oidc")]
pub(crate) use plain::logout_continues;
pub(crate) use plain::{cross_site, forbidden, logout_unavailable, not_found, unavailable};
pub(crate) use rooms::rooms;
