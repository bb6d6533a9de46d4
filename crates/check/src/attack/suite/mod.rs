//! The attack suite: one attack per defence of `SECURITY.md`, with honest clients connected at the same time.
//!
//! Every attack has a name, the reaction that the documentation promises, and a check of the observed reaction. Each is
//! bounded in count and time. While the attacks run, honest clients write and read; the delivery checker judges what they
//! receive, and the suite compares their latency with a quiet phase before the attacks.

mod catalogue;
mod cookies;
mod floods;
mod frames;
mod http;
mod logins;
mod messages;
mod report;
mod requests;
mod runner;
mod slow;
mod target;

pub use report::{attack_table, suite_page};
pub use runner::{AttackResult, HonestResult, ProcessResult, SuiteArguments, SuiteResult, run};
