//! `cargo xtask plan`: how many gateways and how much Redis a load needs, and what limits it first.
//!
//! `model` computes it from the unit costs in `costs`, which `cargo xtask bench` measures. docs/SCALING.md explains both.

pub(crate) mod costs;
mod model;
mod quantity;
mod text;

use std::{fs, path::PathBuf, time::Duration};

use self::{
    costs::UnitCosts,
    model::{Machines, SystemLoad, SystemPlan},
};
use crate::error::{BenchError, Result};

/// Flags of `cargo xtask plan`. Numbers may end with k, M or G: 200k, 10M.
#[derive(Clone, Debug, clap::Args)]
pub struct SizingArguments {
    /// Users with a socket at the same time
    #[arg(long, value_name = "N", value_parser = quantity::count, required_unless_present = "show_costs")]
    users: Option<f64>,
    /// Rooms with members. Default: so many that each user is in one room
    #[arg(long, value_name = "N", value_parser = quantity::count)]
    rooms: Option<f64>,
    /// Messages per second and user
    #[arg(long, value_name = "N", value_parser = quantity::number, default_value = "0.02", allow_negative_numbers = true)]
    rate: f64,
    /// Users of a room with a socket at the same time
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "50")]
    members: f64,
    /// Length of a text in bytes
    #[arg(long, value_name = "BYTES", value_parser = quantity::count, default_value = "100")]
    text: f64,
    /// Mean time that a socket stays open
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "20m")]
    visit: Duration,
    /// As the gateway's --retain: messages that the log of a room retains
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "1000")]
    retain: f64,
    /// As the gateway's --retain-for
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "7d")]
    retain_for: Duration,
    /// Cores of a gateway's machine
    #[arg(long, value_name = "N", value_parser = quantity::count, default_value = "8")]
    cores: f64,
    /// Memory of a gateway's machine
    #[arg(long, value_name = "GIB", value_parser = quantity::count, default_value = "16")]
    memory: f64,
    /// Memory of a Redis master's machine
    #[arg(long, value_name = "GIB", value_parser = quantity::count, default_value = "16")]
    redis_memory: f64,
    /// Network of each machine in each direction
    #[arg(long, value_name = "MBIT_PER_S", value_parser = quantity::count, default_value = "10k")]
    network: f64,
    /// Share of CPU time and network that may be used
    #[arg(long, value_name = "SHARE", value_parser = quantity::share, default_value = "60%")]
    busy: f64,
    /// Unit costs, as `cargo xtask bench` writes them to target/bench/costs.json. Default: the checked-in ones
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a row for the tables of docs/SCALING.md
    #[arg(long, conflicts_with = "json")]
    row: bool,
    /// Print the unit costs with their sources instead of a plan
    #[arg(long, conflicts_with_all = ["json", "row"])]
    show_costs: bool,
}

impl SizingArguments {
    fn load(&self) -> Result<SystemLoad> {
        let users = self.users.unwrap_or(1.0);
        if self.members > users {
            return Err(BenchError::Usage(format!(
                "a room cannot have more members than there are users: --members {} is more than --users {users}",
                self.members
            )));
        }
        Ok(SystemLoad {
            users,
            rooms: self.rooms.unwrap_or((users / self.members).ceil()),
            rate: self.rate,
            members: self.members,
            text: self.text,
            visit_seconds: self.visit.as_secs_f64(),
            retain: self.retain,
            retain_seconds: self.retain_for.as_secs_f64(),
        })
    }

    fn machines(&self) -> Machines {
        let Self { cores, memory, redis_memory, network, busy, .. } = *self;
        Machines { cores, gateway_gib: memory, redis_gib: redis_memory, network, busy }
    }

    fn costs(&self) -> Result<UnitCosts> {
        let Some(path) = &self.costs else { return UnitCosts::checked_in() };
        let json = fs::read_to_string(path)
            .map_err(|error| BenchError::Usage(format!("cannot read {}: {error}", path.display())))?;
        UnitCosts::parse(&json)
    }

    /// The flags that describe load and machines, as they were typed.
    fn command(arguments: &[String]) -> String {
        let shown = arguments.iter().filter(|argument| *argument != "--row").cloned().collect::<Vec<_>>();
        format!("cargo xtask plan {}", shown.join(" "))
    }
}

/// Computes a plan and returns it as text or JSON, and whether it fits. `arguments` are those of the command line.
///
/// # Errors
/// Returns [`BenchError::Usage`] if the arguments contradict each other or the file of costs cannot be used.
pub fn run(flags: &SizingArguments, arguments: &[String]) -> Result<(String, bool)> {
    let costs = flags.costs()?;
    if flags.show_costs {
        return Ok((costs.markdown(), true));
    }
    let (load, machines) = (flags.load()?, flags.machines());
    let plan = SystemPlan::new(&load, &machines, &costs);
    let text = if flags.json {
        format!("{}\n", text::json(&load, &machines, &plan, &costs))
    } else if flags.row {
        format!("{}\n", text::row(&SizingArguments::command(arguments), &plan))
    } else {
        text::text(&load, &machines, &plan, &costs)
    };
    Ok((text, plan.fits()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        sizing: SizingArguments,
    }

    fn plan(line: &str) -> Result<(String, bool), String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let flags = Flags::try_parse_from(&arguments).map_err(|error| error.to_string())?;
        run(&flags.sizing, &arguments).map_err(|error| error.to_string())
    }

    /// docs/SCALING.md.
    fn document() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/SCALING.md");
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn plan_of_the_documentation_names_all_resources_and_the_bottleneck() {
        let (text, fits) = plan("--users 10M --rooms 200k --rate 0.02 --members 50").unwrap();
        assert!(fits, "{text}");
        for expected in ["gateways", "shards", "Mbit/s", "GiB", "connections", "first bottleneck: ", "200k messages/s"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn json_has_the_same_numbers() {
        let (json, _) = plan("--users 1M --json").unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["load"]["users"], &json["load"]["rooms"]), (&1e6.into(), &20_000.0.into()));
        assert_eq!(json["plan"]["messages"], 20_000.0);
        assert_eq!(json["bottleneck"]["resource"], json["plan"]["uses"][0]["resource"]);
        assert!(json["costs"]["costs"]["redis_send"]["source"].as_str().unwrap().contains("BENCHMARKS"), "{json}");
    }

    #[test]
    fn wrong_input_is_refused_with_what_to_do() {
        let cases = [
            ("", "--users"),
            ("--users ten", "10M"),
            ("--users 0", "less than 1"),
            ("--users 1M --rate -1", "--rate"),
            ("--users 10 --members 50", "more members than there are users"),
            ("--users 1M --busy 0", "between 5% and 100%"),
            ("--users 1M --visit 20", "20m"),
            ("--users 1M --costs /nonexistent/costs.json", "/nonexistent/costs.json"),
        ];
        for (line, expected) in cases {
            let error = plan(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn load_beyond_every_limit_does_not_fit() {
        let (text, fits) = plan("--users 1000G --members 1").unwrap();
        assert!(!fits && text.contains("does not fit"), "{text}");
    }

    #[test]
    fn tables_of_the_document_are_what_the_model_computes() {
        let document = document();
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `cargo xtask plan ")).collect();
        assert!(rows.len() >= 8, "{rows:?}");
        for row in rows {
            let line = row.split('`').nth(1).unwrap().strip_prefix("cargo xtask plan ").unwrap();
            assert_eq!(plan(&format!("{line} --row")).unwrap().0.trim_end(), row);
        }
        let (costs, _) = plan("--show-costs").unwrap();
        assert!(document.contains(&costs), "the document needs this table:\n{costs}");
    }
}
