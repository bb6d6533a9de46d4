//! Load: clients that write and read by a plan, through the public protocol, and write down what they see.

mod control;
mod fresh;
mod gather;
mod gauge;
mod member;
mod plan;
mod recorder;
mod run;
mod settings;
mod tap;

pub use run::{Progress, RunState, run};
pub use settings::Settings;

pub(crate) use gather::login;
pub(crate) use recorder::take_lines;
