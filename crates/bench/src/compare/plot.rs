//! Plots as SVG. Pure.

use std::fmt::Write as _;

use super::{plan::Peer, report::shown};
use trunkline_chaos::html::escape;

/// Size of the drawing and width of its margins, in SVG units.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 12.0;

/// Scale of the vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    FromZero,
    /// For values of different orders of magnitude.
    Logarithmic,
}

/// The values of one peer per column. `None` where it was not measured.
pub(super) struct PlotSeries {
    pub(super) peer: Peer,
    pub(super) values: Vec<Option<f64>>,
}

/// A line plot with one line per peer and equally spaced columns.
pub(super) fn lines(title: &str, axis: Axis, columns: &[String], series: &[PlotSeries]) -> String {
    let values = || series.iter().flat_map(|one| one.values.iter().copied().flatten()).filter(|value| *value > 0.0);
    let most = values().fold(f64::MIN_POSITIVE, f64::max);
    let least = values().fold(most, f64::min);
    let scaled = |value: f64| match axis {
        Axis::FromZero => value / most,
        // The axis begins at half of the smallest value, so that its points do not touch the frame.
        Axis::Logarithmic => (value * 2.0 / least).log10().max(0.0) / (most * 2.0 / least).log10(),
    };
    let y = |value: f64| HEIGHT - BOTTOM - scaled(value) * (HEIGHT - BOTTOM - TOP);
    let steps = columns.len().saturating_sub(1).max(1) as f64;
    let x = |column: usize| LEFT + 30.0 + column as f64 / steps * (WIDTH - LEFT - RIGHT - 60.0);
    let mut svg = open(title);
    for step in 0..=4 {
        let part = f64::from(step) / 4.0;
        let value = match axis {
            Axis::FromZero => most * part,
            Axis::Logarithmic => least / 2.0 * (most * 2.0 / least).powf(part),
        };
        svg += &grid(y(value), &shown(value));
    }
    for (column, name) in columns.iter().enumerate() {
        _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(column),
            HEIGHT - 8.0,
            escape(name)
        );
    }
    for one in series {
        let points =
            one.values.iter().enumerate().filter_map(|(column, value)| Some((x(column), y((*value)?), (*value)?)));
        let mut path = String::new();
        for (x, y, value) in points {
            _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
            let (colour, peer) = (colour(one.peer), one.peer);
            _ = write!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"><title>{peer}: {}</title></circle>",
                shown(value)
            );
        }
        _ = write!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"/>",
            colour(one.peer),
            weight(one.peer)
        );
    }
    close(svg, title, series.iter().map(|one| one.peer))
}

/// A bar plot with one bar per peer.
pub(super) fn bars(title: &str, values: &[(Peer, f64)]) -> String {
    let most = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let width = (WIDTH - LEFT) / values.len().max(1) as f64;
    let mut svg = open(title);
    svg += &grid(HEIGHT - BOTTOM, "0");
    for (ports, (peer, value)) in values.iter().enumerate() {
        let height = (value / most).max(0.0) * (HEIGHT - BOTTOM - TOP - 14.0);
        let (x, y) = (LEFT + ports as f64 * width, HEIGHT - BOTTOM - height);
        let (left, bar, middle) = (x + width * 0.15, width * 0.7, x + width / 2.0);
        let (colour, above, below, value) = (colour(*peer), y - 4.0, HEIGHT - 8.0, shown(*value));
        _ = write!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{bar:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\
             <text x=\"{middle:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{value}</text>\
             <text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\">{peer}</text>"
        );
    }
    close(svg, title, std::iter::empty())
}

fn open(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" font-size=\"12\" fill=\"#777\">",
        escape(title)
    )
}

fn grid(y: f64, label: &str) -> String {
    format!(
        "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#8884\"/><text x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\" dy=\".3em\">{label}</text>",
        WIDTH - RIGHT,
        LEFT - 6.0
    )
}

/// Ends a drawing with its legend.
fn close(mut svg: String, title: &str, peers: impl Iterator<Item = Peer>) -> String {
    for (ports, peer) in peers.enumerate() {
        let (x, y) = (WIDTH - RIGHT + 10.0, TOP + 8.0 + ports as f64 * 18.0);
        _ = write!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{}\">■ {peer}</text>", colour(peer));
    }
    format!("<figure><figcaption>{}</figcaption>{svg}</svg></figure>", escape(title))
}

fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Floor => "#888888",
        Peer::FloorBatched => "#b0b0b0",
        Peer::SocketioRedis => "#b7791f",
        Peer::SocketioStreams => "#dd6b20",
        Peer::Socketioxide => "#c53030",
        Peer::Nchan => "#2f855a",
        Peer::Nats => "#805ad5",
        Peer::Trunkline => "#2b6cb0",
        Peer::TrunklineMounted => "#63b3ed",
    }
}

fn weight(peer: Peer) -> f64 {
    if peer.is_ours() { 3.0 } else { 1.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_without_values_is_valid() {
        for axis in [Axis::FromZero, Axis::Logarithmic] {
            let svg = lines("a < b", axis, &[], &[PlotSeries { peer: Peer::Nats, values: vec![None] }]);
            assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(!bars("nothing", &[]).contains("NaN"));
        let svg = bars("two", &[(Peer::Floor, 5.0), (Peer::Nats, 10.0)]);
        assert!(svg.contains(">5.00</text>") && svg.contains("x=\"285.0\"") && svg.contains("x=\"735.0\""), "{svg}");
    }

    #[test]
    fn larger_values_are_drawn_higher() {
        let values = vec![Some(1.0), None, Some(1000.0)];
        let svg = lines(
            "t",
            Axis::Logarithmic,
            &["1".to_owned(), "2".to_owned(), "3".to_owned()],
            &[PlotSeries { peer: Peer::Floor, values }],
        );
        let heights: Vec<f64> =
            svg.split("cy=\"").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
        assert!(heights.len() == 2 && heights[0] > heights[1] && heights[1] >= TOP, "{heights:?}");
    }
}
