//! Unit costs: what one message, delivery, socket or room costs, with the source of each figure. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{BenchError, Result};

/// The costs of this revision, measured as each of them says.
const CHECKED_IN: &str = include_str!("../../costs.json");

/// One unit cost. The names are those in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Cost {
    /// CPU time per message, on the instance of its author: frame, script call, acknowledgement and one publication
    GatewaySend,
    /// CPU time per message and further instance with members in the room
    GatewayPublication,
    /// CPU time per message and member
    GatewayDelivery,
    /// the part of each publication that one thread of an instance does, whatever its number of workers
    GatewayBusThread,
    /// CPU time per new socket
    GatewayHandshake,
    /// CPU time per socket and second without messages: pings
    GatewaySocket,
    /// CPU time per room, instance with members in it, and second without messages
    GatewayRoom,
    /// CPU time of Redis per message, with the publication to one instance
    RedisSend,
    /// CPU time of Redis per message and further instance with members in the room
    RedisPublication,
    /// CPU time of Redis per room, instance with members in it, and second without messages
    RedisRoom,
    /// memory of the gateway per socket
    SocketUser,
    /// memory of the kernel per socket, with empty buffers
    SocketKernel,
    /// memory of Redis per retained message with 100 bytes of text
    RedisMessage,
    /// bytes of a frame or a publication besides the text
    Frame,
}

impl Cost {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::GatewaySocket | Self::GatewayRoom | Self::RedisRoom => "µs/s",
            Self::SocketUser | Self::SocketKernel => "KiB",
            Self::RedisMessage | Self::Frame => "bytes",
            _ => "µs",
        }
    }

    /// The name in the file.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn meaning(self) -> String {
        self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }
}

/// A figure and its origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitCost {
    pub(crate) value: f64,
    /// Where and how it was measured.
    pub(crate) source: String,
}

/// All unit costs. A file has every one of them; see [`UnitCosts::parse`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitCosts {
    /// The machine, or the machines, on which they were measured.
    pub(crate) measured: String,
    costs: BTreeMap<Cost, UnitCost>,
}

impl UnitCosts {
    /// The costs of the checked-in file.
    ///
    /// # Errors
    /// See [`UnitCosts::parse`].
    pub(crate) fn checked_in() -> Result<Self> {
        Self::parse(CHECKED_IN)
    }

    /// Parses the JSON of a file.
    ///
    /// # Errors
    /// Returns [`BenchError::Usage`] if it is not such a file, if a cost is missing, or if one is not a positive number.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        let parsed: Self =
            serde_json::from_str(json).map_err(|e| BenchError::Usage(format!("the file of costs: {e}")))?;
        for cost in Cost::value_variants() {
            let name = cost.name();
            match parsed.costs.get(cost) {
                None => return Err(BenchError::Usage(format!("the file of costs has no {name:?}"))),
                Some(UnitCost { value, .. }) if !(value.is_finite() && *value > 0.0) => {
                    return Err(BenchError::Usage(format!(
                        "the file of costs: {name:?} is {value}, which is not a positive number"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(parsed)
    }

    /// The value of a cost in its unit.
    pub(crate) fn get(&self, cost: Cost) -> f64 {
        // `parse` has checked that each is there.
        self.costs.get(&cost).map_or(0.0, |cost| cost.value)
    }

    /// Replaces a cost by a new measurement. A value that is not positive, as a difference of noisy figures can be, is
    /// ignored.
    pub(crate) fn replace(&mut self, cost: Cost, value: f64, source: String) {
        if value.is_finite() && value > 0.0 {
            self.costs.insert(cost, UnitCost { value, source });
        }
    }

    /// All costs as a table in Markdown, as in docs/SCALING.md.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| cost | | is | source |\n| --- | --- | --- | --- |\n".to_owned();
        for cost in Cost::value_variants() {
            let source = self.costs.get(cost).map_or("", |cost| &cost.source);
            let (name, value, unit) = (cost.name(), self.get(*cost), cost.unit());
            _ = writeln!(text, "| `{name}` | {value} {unit} | {} | {source} |", cost.meaning());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_costs_are_complete_and_name_their_sources() {
        let costs = UnitCosts::checked_in().unwrap();
        for (cost, UnitCost { source, .. }) in &costs.costs {
            assert!(["docs/", "same table", "trunkline-bench"].iter().any(|place| source.contains(place)), "{cost:?}");
        }
        assert_eq!(UnitCosts::parse(&serde_json::to_string(&costs).unwrap()).unwrap(), costs);
    }

    #[test]
    fn incomplete_and_impossible_files_are_refused() {
        let refused = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut file: serde_json::Value = serde_json::from_str(CHECKED_IN).unwrap();
            change(&mut file);
            UnitCosts::parse(&file.to_string()).unwrap_err().to_string()
        };
        assert!(
            refused(&|file| _ = file["costs"].as_object_mut().unwrap().remove("redis_send"))
                .contains("no \"redis_send\"")
        );
        assert!(refused(&|file| file["costs"]["frame"]["value"] = (-1).into()).contains("\"frame\" is -1"));
        assert!(refused(&|file| file["costs"]["sends"] = 1.into()).contains("unknown variant `sends`"));
        assert!(refused(&|file| *file = 1.into()).contains("the file of costs"));
    }

    #[test]
    fn only_positive_measurements_replace_a_cost() {
        let mut costs = UnitCosts::checked_in().unwrap();
        let before = costs.get(Cost::RedisPublication);
        costs.replace(Cost::RedisPublication, -0.5, "noise".to_owned());
        assert_eq!(costs.get(Cost::RedisPublication), before);
        costs.replace(Cost::RedisPublication, 3.0, "a run".to_owned());
        assert!(costs.markdown().contains("| `redis_publication` | 3 µs | CPU time of Redis per message and further"));
        assert!(costs.markdown().contains("| a run |"));
    }
}
