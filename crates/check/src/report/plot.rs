//! Plots as inline SVG, drawn with `plotters`.

use std::error::Error;

use maud::{Markup, PreEscaped, html};
use plotters::{
    chart::{ChartContext, MeshStyle},
    coord::{
        cartesian::Cartesian2d,
        ranged1d::{AsRangedCoord, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};

/// Size of a plot in SVG units. The page scales it to its own width.
const SIZE: (u32, u32) = (960, 260);
/// Space for the labels of the axes, in SVG units.
const X_LABEL_SPACE: u32 = 28;
const Y_LABEL_SPACE: u32 = 64;
/// Size of labels in SVG units.
const FONT_SIZE: u32 = 12;

type DrawResult = Result<(), Box<dyn Error>>;

/// A colour of a series that is legible on a light and on a dark page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(
    /// Red, 0 to 255.
    pub u8,
    /// Green, 0 to 255.
    pub u8,
    /// Blue, 0 to 255.
    pub u8,
);

impl Colour {
    /// Blue, for the main series.
    pub const BLUE: Self = Self(0x3b, 0x82, 0xd6);
    /// Green, for success.
    pub const GREEN: Self = Self(0x2f, 0x9e, 0x5b);
    /// Red, for failures and faults.
    pub const RED: Self = Self(0xdb, 0x4c, 0x40);
    /// Yellow, for a series beside the others.
    pub const YELLOW: Self = Self(0xb7, 0x86, 0x1f);

    fn rgb(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }

    fn css(self) -> String {
        format!("color:#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

/// One line of a [`LinePlot`].
#[derive(Debug)]
pub struct PlotSeries<'a> {
    /// Name in the legend, which a plot of one line does not have.
    pub name: &'a str,
    /// Colour of the line.
    pub colour: Colour,
    /// Width of the line in SVG units.
    pub width: u32,
    /// Points `(x, y)` in the order of x. Omit a point that was not measured.
    pub points: Vec<(f64, f64)>,
}

impl<'a> PlotSeries<'a> {
    /// Returns a series with a line of normal width.
    pub fn new(name: &'a str, colour: Colour, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name, colour, width: 2, points: points.into_iter().collect() }
    }
}

/// A named vertical line, and the range that begins there.
#[derive(Debug)]
pub struct Marker<'a> {
    /// Place on the horizontal axis.
    pub x: f64,
    /// End of the range, which is shaded. `None` draws only the line.
    pub end: Option<f64>,
    /// Label.
    pub name: &'a str,
}

/// The horizontal axis of a [`LinePlot`].
#[derive(Debug)]
pub enum XAxis<'a> {
    /// Time in seconds, from 0.
    Seconds,
    /// Named columns at equal distances; the first has the x value 0, the second 1.
    Columns(&'a [String]),
}

/// The vertical axis of a [`LinePlot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YScale {
    /// Linear, from 0.
    Linear,
    /// Logarithmic, for values that differ by orders of magnitude. Values that are not positive are not drawn.
    Logarithmic,
}

/// A plot of one or several lines.
#[derive(Debug)]
pub struct LinePlot<'a> {
    /// Title above the plot.
    pub title: &'a str,
    /// Unit of the values, shown after the title; may be empty.
    pub unit: &'a str,
    /// Horizontal axis.
    pub x: XAxis<'a>,
    /// Vertical axis.
    pub y: YScale,
    /// The lines.
    pub series: Vec<PlotSeries<'a>>,
    /// Vertical lines and ranges, for example the times of faults.
    pub markers: Vec<Marker<'a>>,
}

impl LinePlot<'_> {
    /// Returns the plot as a `figure` element.
    #[must_use]
    pub fn draw(&self) -> Markup {
        let legend = self.series.iter().map(|series| (series.name, series.colour)).filter(|_| self.series.len() > 1);
        figure(self.title, self.unit, legend, |area| {
            let values = || self.series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
            let largest = values().fold(f64::MIN_POSITIVE, f64::max);
            match self.y {
                YScale::Linear => self.draw_on(area, 0.0..largest.max(1e-9) * 1.05),
                YScale::Logarithmic => {
                    let smallest = values().filter(|value| *value > 0.0).fold(largest, f64::min);
                    self.draw_on(area, (smallest / 2.0..largest * 2.0).log_scale())
                }
            }
        })
    }

    fn draw_on<Y>(&self, area: &SvgArea<'_>, y_range: Y) -> DrawResult
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_range, columns) = match self.x {
            XAxis::Seconds => (0.0..points().map(|(x, _)| *x).fold(1.0, f64::max), None),
            XAxis::Columns(names) => (-0.5..count(names.len().max(1)) - 0.5, Some(names)),
        };
        let mut chart = chart_builder(area).build_cartesian_2d(x_range, y_range)?;
        let mut mesh = chart.configure_mesh();
        let x_label = |x: &f64| if columns.is_none() { format!("{x:.0} s") } else { String::new() };
        mesh.disable_x_mesh()
            .y_labels(5)
            .x_labels(if columns.is_none() { 8 } else { 0 })
            .x_label_formatter(&x_label)
            .y_label_formatter(&|y| format_value(*y));
        style_mesh(&mut mesh)?;
        let (top, bottom) = (chart.y_range().end, chart.y_range().start);
        for (place, name) in columns.into_iter().flatten().enumerate() {
            let (x, _) = chart.backend_coord(&(count(place), bottom));
            draw_column_name(area, x, name)?;
        }
        let last = chart.x_range().end;
        for marker in &self.markers {
            if let Some(end) = marker.end {
                let corners = [(marker.x, bottom), (end.min(last), top)];
                chart.draw_series([Rectangle::new(corners, Colour::RED.rgb().mix(0.12).filled())])?;
            }
            let style = Colour::RED.rgb().mix(0.8).stroke_width(1);
            chart.draw_series([PathElement::new([(marker.x, bottom), (marker.x, top)], style)])?;
            let (x, y) = chart.backend_coord(&(marker.x, top));
            let label = ("sans-serif", FONT_SIZE).into_font().color(&Colour::RED.rgb());
            area.draw(&Text::new(marker.name.to_owned(), (x + 4, y), label))?;
        }
        for series in &self.series {
            let drawn = series.points.iter().copied().filter(|(_, y)| self.y == YScale::Linear || *y > 0.0);
            let style = series.colour.rgb().stroke_width(series.width);
            chart.draw_series(LineSeries::new(drawn.clone(), style))?;
            if columns.is_some() {
                chart.draw_series(drawn.map(|point| Circle::new(point, 3, series.colour.rgb().filled())))?;
            }
        }
        Ok(())
    }
}

/// One bar of a [`bar_plot`].
#[derive(Debug)]
pub struct Bar<'a> {
    /// Label below the bar.
    pub name: &'a str,
    /// Colour of the bar.
    pub colour: Colour,
    /// Height of the bar.
    pub value: f64,
}

/// Returns a bar plot as a `figure` element. The vertical axis begins at 0.
#[must_use]
pub fn bar_plot(title: &str, unit: &str, bars: &[Bar<'_>]) -> Markup {
    figure(title, unit, [], |area| {
        let largest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let x_range = -0.5..count(bars.len().max(1)) - 0.5;
        let mut chart: ChartContext<'_, _, Cartesian2d<RangedCoordf64, RangedCoordf64>> =
            chart_builder(area).build_cartesian_2d(x_range, 0.0..largest * 1.15)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().y_labels(5).x_labels(0).y_label_formatter(&|y| format_value(*y));
        style_mesh(&mut mesh)?;
        for (place, bar) in bars.iter().enumerate() {
            let x = count(place);
            let corners = [(x - 0.35, 0.0), (x + 0.35, bar.value.max(0.0))];
            chart.draw_series([Rectangle::new(corners, bar.colour.rgb().filled())])?;
            let (middle, top) = chart.backend_coord(&(x, bar.value.max(0.0)));
            let value = format_value(bar.value);
            area.draw(&Text::new(value, (middle, top - 16), centred()))?;
            draw_column_name(area, middle, bar.name)?;
        }
        Ok(())
    })
}

type SvgArea<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws on an area and returns a `figure` element with title, unit and legend.
fn figure<'a>(
    title: &str,
    unit: &str,
    legend: impl IntoIterator<Item = (&'a str, Colour)>,
    draw: impl FnOnce(&SvgArea<'_>) -> DrawResult,
) -> Markup {
    let mut svg = String::new();
    let result = {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?))
    };
    // Inside an HTML document the element needs no namespace, and its size follows from the page.
    let drawing = svg.find('>').map_or("", |end| &svg[end + 1..]);
    html! {
        figure {
            figcaption {
                (title) " " small { (unit) }
                @for (name, colour) in legend { span { b style=(colour.css()) { "■" } " " (name) } }
            }
            @match result {
                Ok(()) => {
                    svg viewBox={ "0 0 " (SIZE.0) " " (SIZE.1) } role="img" aria-label=(title) {
                        (PreEscaped(drawing.trim_end().trim_end_matches("</svg>")))
                    }
                }
                Err(error) => p { "The plot cannot be drawn: " (error) }
            }
        }
    }
}

fn chart_builder<'a, 'b>(area: &'a SvgArea<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(FONT_SIZE + 4)
        .margin_right(12)
        .x_label_area_size(X_LABEL_SPACE)
        .y_label_area_size(Y_LABEL_SPACE);
    builder
}

fn style_mesh<X, Y>(mesh: &mut MeshStyle<'_, '_, X, Y, SVGBackend<'_>>) -> DrawResult
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    mesh.label_style(("sans-serif", FONT_SIZE))
        .axis_style(BLACK.mix(0.4))
        .bold_line_style(BLACK.mix(0.15))
        .light_line_style(TRANSPARENT)
        .draw()?;
    Ok(())
}

/// Writes the name of a column below the axis.
fn draw_column_name(area: &SvgArea<'_>, x: i32, name: &str) -> DrawResult {
    let y = i32::try_from(SIZE.1 - X_LABEL_SPACE + 8).unwrap_or_default();
    Ok(area.draw(&Text::new(name.to_owned(), (x, y), centred()))?)
}

fn centred() -> TextStyle<'static> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    ("sans-serif", FONT_SIZE).into_text_style(&SIZE).pos(Pos::new(HPos::Center, VPos::Top))
}

#[allow(clippy::cast_precision_loss, reason = "numbers of columns are far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

/// Formats a value with about three significant digits.
fn format_value(value: f64) -> String {
    if value >= 1_000_000.0 {
        format!("{:.1}M", value / 1e6)
    } else if value >= 10_000.0 {
        format!("{:.0}k", value / 1000.0)
    } else if value >= 10.0 || value == 0.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_plot(y: YScale, points: Vec<(f64, f64)>) -> String {
        let series = vec![PlotSeries { name: "p50", colour: Colour::RED, width: 2, points }];
        LinePlot { title: "a < b", unit: "ms", x: XAxis::Seconds, y, series, markers: Vec::new() }.draw().into_string()
    }

    #[test]
    fn plot_without_points_is_valid() {
        for y in [YScale::Linear, YScale::Logarithmic] {
            let html = line_plot(y, Vec::new());
            assert!(html.contains("a &lt; b") && html.contains("</svg>"), "{html}");
            assert!(!html.contains("NaN") && !html.contains("inf") && !html.contains("cannot be drawn"), "{html}");
        }
        assert!(!bar_plot("nothing", "", &[]).into_string().contains("NaN"));
    }

    #[test]
    fn larger_values_are_higher() {
        for y in [YScale::Linear, YScale::Logarithmic] {
            let html = line_plot(y, vec![(0.0, 1.0), (1.0, 1000.0)]);
            let line = html.split("<polyline").find(|part| part.contains("#DB4C40")).unwrap();
            let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            let heights: Vec<f64> =
                points.split_whitespace().map(|point| point.split(',').nth(1).unwrap().parse().unwrap()).collect();
            assert!(heights.len() == 2 && heights[0] > heights[1] && heights[1] > 0.0, "{points}");
        }
    }

    #[test]
    fn marked_range_is_shaded_up_to_the_end_of_the_axis() {
        let draw = |end| {
            let series = vec![PlotSeries::new("clients", Colour::BLUE, [(0.0, 1.0), (10.0, 1.0)])];
            let markers = vec![Marker { x: 5.0, end, name: "fault" }];
            LinePlot { title: "", unit: "", x: XAxis::Seconds, y: YScale::Linear, series, markers }.draw().into_string()
        };
        assert!(!draw(None).contains("<rect") && draw(Some(7.0)).contains("<rect"));
        assert_eq!(draw(Some(10.0)), draw(Some(99.0)));
    }

    #[test]
    fn bars_have_names_and_values() {
        let bars = [("<floor>", 5.0), ("nats", 10.0)].map(|(name, value)| Bar { name, colour: Colour::BLUE, value });
        let html = bar_plot("two", "", &bars).into_string();
        assert!(html.contains("&lt;floor&gt;") && html.contains(">\n5\n<"), "{html}");
    }
}
