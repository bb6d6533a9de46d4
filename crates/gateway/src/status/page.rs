//! The status page of the admin listener. In English only, and not part of `web/PAGE.md`.

use maud::{Markup, html};

use super::InstanceStatus;
use crate::pages::{PageLanguage, layout};

/// Returns a page with the status of all instances as `instance` knows it, or with a notice if `instances` is `None`.
/// The page reloads itself every 2 s, without a script.
pub(crate) fn render(instance: &str, instances: Option<&[InstanceStatus]>) -> Markup {
    let renew = html! { meta http-equiv="refresh" content="2"; };
    let content = html! {
        h1 { "Instances" }
        @match instances {
            None => p role="alert" { "The status of the instances cannot be read from the bus: see " a href="/readyz" { "/readyz" } "." },
            Some(instances) => {
                table {
                    thead {
                        tr {
                            @for name in ["Instance", "State", "Sockets", "Rooms", "Users", "Sent/s", "Delivered/s", "Up", "Version"] {
                                th scope="col" { (name) }
                            }
                        }
                    }
                    tbody {
                        @for one in instances {
                            tr {
                                th scope="row" { (one.instance) }
                                td { (one.state) }
                                td { (one.sockets) }
                                td { (one.rooms) }
                                td { (one.users) }
                                td { (one.sent_per_second) }
                                td { (one.delivered_per_second) }
                                td { (uptime(one.uptime)) }
                                td { (one.version) }
                            }
                        }
                    }
                }
            }
        }
        p class="quiet" { "Seen by " (instance) ". " a href="/status" { "JSON" } ", " a href="/metrics" { "metrics" } "." }
    };
    // Browsers give a figure margins; the style sheet has no rules for this page.
    let body = html! { body class="status" { main { figure { (content) } } } };
    layout::page(PageLanguage::English.strings(), "Status", &renew, &body)
}

/// Formats an uptime as `3d 4h`, `4h 5m`, `5m 6s` or `6s`.
fn uptime(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown: Vec<String> = parts[first..].iter().take(2).map(|(count, unit)| format!("{count}{unit}")).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_has_at_most_two_units() {
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h 0m"), (90_061, "1d 1h")] {
            assert_eq!(uptime(seconds), shown);
        }
    }

    #[test]
    fn instance_names_are_escaped() {
        let one = InstanceStatus {
            instance: "<gw>".to_owned(),
            state: "serving".to_owned(),
            sockets: 3,
            rooms: 2,
            users: 4,
            sent_per_second: 1.5,
            delivered_per_second: 0.0,
            uptime: 7,
            version: "1".to_owned(),
        };
        let page = render("gw-1", Some(&[one])).into_string();
        assert!(
            page.contains("&lt;gw&gt;") && page.contains("<td>1.5</td>") && page.contains("Seen by gw-1"),
            "{page}"
        );
        assert!(render("gw-1", None).into_string().contains("/readyz"));
    }
}
