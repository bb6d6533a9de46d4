//! Line plots as SVG, drawn by hand: a report is one file that needs nothing else.

use std::fmt::Write as _;

/// One line of a plot.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    /// A value a second.
    pub(crate) values: Vec<f64>,
}

/// A vertical mark.
pub(crate) struct Mark {
    pub(crate) second: f64,
    pub(crate) name: String,
}

/// Size of the drawing and of its frame, in SVG units.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 16.0;

/// Draws the series over the seconds of a run.
pub(crate) fn plot(title: &str, unit: &str, series: &[Series], marks: &[Mark]) -> String {
    let seconds = series.iter().map(|s| s.values.len()).max().unwrap_or(0).max(2);
    let most = series.iter().flat_map(|s| &s.values).copied().fold(0.0, f64::max);
    let ceiling = ceiling(most);
    let x = |second: f64| LEFT + second / count(seconds - 1) * (WIDTH - LEFT - 8.0);
    let y = |value: f64| HEIGHT - BOTTOM - value / ceiling * (HEIGHT - BOTTOM - TOP);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><g class=\"grid\">",
        super::html::escape(title)
    );
    for step in 0..=4 {
        let value = ceiling * f64::from(step) / 4.0;
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{1}\"/><text x=\"{2}\" y=\"{0:.1}\" text-anchor=\"end\" dy=\".3em\">{3}</text>",
            y(value),
            WIDTH - 8.0,
            LEFT - 6.0,
            shown(value)
        );
    }
    for step in 0..=6 {
        let second = count(seconds - 1) * f64::from(step) / 6.0;
        let anchor = if step == 6 { "end" } else { "middle" };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{second:.0} s</text>",
            x(second),
            HEIGHT - 8.0
        );
    }
    svg.push_str("</g>");
    for mark in marks {
        let _ = write!(
            svg,
            "<g class=\"mark\"><path d=\"M{0:.1} {TOP}V{1}\"/><text x=\"{0:.1}\" y=\"{2}\" dx=\"3\">{3}</text></g>",
            x(mark.second),
            HEIGHT - BOTTOM,
            TOP - 4.0,
            super::html::escape(&mark.name)
        );
    }
    for line in series {
        let mut path = String::new();
        for (second, value) in line.values.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if second == 0 { 'M' } else { 'L' }, x(count(second)), y(*value));
        }
        let _ = write!(svg, "<path class=\"line\" stroke=\"{}\" d=\"{path}\"/>", line.colour);
    }
    svg.push_str("</svg>");
    let mut keys = String::new();
    for line in series {
        let _ = write!(keys, "<span style=\"color:{}\">■</span> {} ", line.colour, line.name);
    }
    format!(
        "<figure><figcaption>{} <small>{unit}</small> {keys}</figcaption>{svg}</figure>",
        super::html::escape(title)
    )
}

/// Seconds of a run are far below what a float holds exactly.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn count(number: usize) -> f64 {
    number as f64
}

/// The next of 1, 2, 5, 10, 20 … that holds `most`.
fn ceiling(most: f64) -> f64 {
    let mut ceiling = 1.0;
    while ceiling < most {
        let next = [2.0, 2.5, 2.0];
        for factor in next {
            ceiling *= factor;
            if ceiling >= most {
                break;
            }
        }
    }
    ceiling
}

fn shown(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_a_round_number_that_holds_everything() {
        assert_eq!([0.0, 1.0, 1.5, 3.0, 7.0, 11.0, 480.0].map(ceiling), [1.0, 1.0, 2.0, 5.0, 10.0, 20.0, 500.0]);
    }

    #[test]
    fn a_plot_of_nothing_is_a_plot() {
        let svg = plot("a < b", "ms", &[Series { name: "p50", colour: "red", values: Vec::new() }], &[]);
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"), "{svg}");
    }
}
