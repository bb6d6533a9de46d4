//! What every session store promises, tried over HTTP on each of them, and what only Redis can get wrong.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod agreement;
mod contract;
mod cookie;
mod login_id;
mod redis;
mod site;
