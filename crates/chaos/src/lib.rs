//! Fault injection for Trunkline: scenarios that break real processes while clients send and receive.
//!
//! A scenario starts its own deployment on loopback (Redis, HAProxy, gateways), lets `trunkline-check` connect clients,
//! marks and injects a fault, removes it, and has the checker judge what the clients saw. `trunkline-chaos`, which
//! `cargo xtask chaos` starts, runs all scenarios or all mutants and writes a report. [`measure_recovery`] runs one kill
//! with a given load for `cargo xtask bench`.

mod checker;
mod deployment;
mod error;
mod mutants;
mod page;
mod recovery;
mod report;
mod run;
mod runner;
mod scenarios;
mod verdict;

pub use self::{
    checker::ClientLoad,
    error::{ChaosError, Result},
    recovery::{RecoveryResult, RecoverySettings, measure_recovery},
    report::write_report,
    runner::{ChaosArguments, run},
};
