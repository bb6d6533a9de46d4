//! A plan as text, JSON and a row of a table. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    costs::UnitCosts,
    model::{Machines, SystemLoad, SystemPlan},
};

/// The plan for a terminal.
pub(super) fn text(load: &SystemLoad, machines: &Machines, plan: &SystemPlan, costs: &UnitCosts) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<13}{value}");
    let SystemPlan { messages, deliveries, handshakes, gateways, shards, reach, .. } = plan;
    line(
        "load",
        format!(
            "{} users in {} rooms of {}: {} messages/s, {} deliveries/s, {} handshakes/s",
            short(load.users),
            short(load.rooms),
            short(load.members),
            short(*messages),
            short(*deliveries),
            short(*handshakes)
        ),
    );
    line(
        "gateways",
        format!(
            "{gateways} of {} cores and {} GiB, and one more for one that fails: {} of {} cores busy; each message goes to \
             {} gateways",
            short(machines.cores),
            short(machines.gateway_gib),
            short(plan.gateway_cores),
            short(*gateways as f64 * machines.cores),
            short(*reach)
        ),
    );
    line(
        "  each",
        format!(
            "{} sockets, {} GiB, {} Mbit/s in, {} Mbit/s out, at most {} connections to Redis",
            short(plan.sockets_per_gateway),
            short(plan.gateway_gib),
            short(plan.gateway_in),
            short(plan.gateway_out),
            plan.connections_per_gateway
        ),
    );
    line(
        "Redis",
        format!(
            "{}: {} cores busy",
            if *shards == 1 { "one shard".to_owned() } else { format!("{shards} shards, each with a replica") },
            short(plan.redis_cores)
        ),
    );
    line(
        "  each",
        format!(
            "{} GiB, {} Mbit/s in, {} Mbit/s out, at most {} connections",
            short(plan.redis_gib),
            short(plan.redis_in),
            short(plan.redis_out),
            plan.connections_per_master
        ),
    );
    _ = writeln!(text, "\nof its limit");
    for used in &plan.uses {
        _ = writeln!(text, "  {:<26}{:>6}", used.resource, percent(used.of_limit));
    }
    let bottleneck = plan.bottleneck();
    let state = if plan.fits() { "" } else { "this load does not fit. " };
    _ = writeln!(
        text,
        "\n{state}first bottleneck: {}. {}.",
        bottleneck.resource,
        sentence(bottleneck.resource.remedy())
    );
    _ = writeln!(text, "costs: {}; `cargo xtask plan --show-costs` has the source of each.", costs.measured);
    text
}

pub(super) fn json(load: &SystemLoad, machines: &Machines, plan: &SystemPlan, costs: &UnitCosts) -> Value {
    let bottleneck = plan.bottleneck();
    json!({
        "load": load,
        "machines": machines,
        "plan": plan,
        "fits": plan.fits(),
        "bottleneck": { "resource": bottleneck.resource, "of_limit": bottleneck.of_limit, "remedy": bottleneck.resource.remedy() },
        "costs": costs,
    })
}

/// A row of the tables in docs/SCALING.md: command, gateways, cores in use, GiB, Mbit/s out per gateway, shards, cores of
/// Redis in use, connections per master, and the first bottleneck.
pub(super) fn row(command: &str, plan: &SystemPlan) -> String {
    let bottleneck = plan.bottleneck();
    let fits = if plan.fits() { "" } else { "does not fit: " };
    format!(
        "| `{command}` | {} | {} | {} | {} | {} | {} | {} | {fits}{}, {} |",
        plan.gateways,
        short(plan.gateway_cores),
        short(plan.gateway_gib),
        short(plan.gateway_out),
        plan.shards,
        short(plan.redis_cores),
        plan.connections_per_master,
        bottleneck.resource,
        percent(bottleneck.of_limit)
    )
}

/// Two or three significant digits, with k, M and G.
fn short(value: f64) -> String {
    let (value, suffix) = match value {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if value >= 99.5 {
        0
    } else if value >= 9.95 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// The text with a capital first letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.02, 5.0, 42.34, 999.9, 9999.0, 200_000.0, 12_345_678.0, 2e9].map(short);
        assert_eq!(shown, ["0", "0.02", "5", "42.3", "1000", "9999", "200k", "12.3M", "2G"]);
    }
}
