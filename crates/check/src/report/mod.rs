//! Verdicts for people: a live line, text, an HTML page with plots.

mod html;
mod live;
mod plot;
mod text;

pub use html::page;
pub use live::Live;
pub use text::Text;
