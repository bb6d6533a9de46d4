//! Reports: progress on a terminal, a verdict as text or as an HTML page, and the parts that every HTML report of the
//! workspace shares.
//!
//! An HTML report is one file without scripts and without references to other files or hosts. It has a light and a dark
//! colour scheme. Build one from [`page()`], [`table`], [`LinePlot`] and [`bar_plot`]:
//!
//! ```
//! use trunkline_check::report::{TableCell, Colour, LinePlot, PlotSeries, XAxis, YScale, page, table};
//!
//! let throughput = LinePlot {
//!     title: "Throughput",
//!     unit: "messages per second",
//!     x: XAxis::Seconds,
//!     y: YScale::Linear,
//!     series: vec![PlotSeries::new("delivered", Colour::BLUE, [(0.0, 900.0), (1.0, 1100.0)])],
//!     markers: Vec::new(),
//! };
//! let rows = [vec![TableCell::text("delivered"), TableCell::number(2000)]];
//! let html = page("Example", &maud::html! { (table("Counts", &[], rows)) (throughput.draw()) });
//! assert!(html.contains("<svg") && html.contains("2000"));
//! ```

mod page;
mod plot;
mod progress_line;
mod text;
mod time;
mod verdict_page;

pub use page::{TableCell, page, table};
pub use plot::{Bar, Colour, LinePlot, Marker, PlotSeries, XAxis, YScale, bar_plot};
pub use progress_line::ProgressLine;
pub use text::TextReport;
pub(crate) use time::format_millis;
pub use verdict_page::verdict_page;
