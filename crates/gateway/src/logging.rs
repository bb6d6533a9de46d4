//! Log lines on standard error, each with the instance's name.

use std::{fmt, io};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Format, JsonFields, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
};

use crate::settings::LogFormat;

/// From now on, what `filter` lets through is written.
pub(crate) fn start(format: LogFormat, filter: Targets, instance: &str) {
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(io::stderr).with_ansi(false);
    // Fails only where somebody has started logging before, and nobody has.
    let _ = match format {
        LogFormat::Text => {
            let inner = Format::default();
            let named = Named { prefix: format!("{instance} "), opens: "", inner };
            let lines = lines.fmt_fields(DefaultFields::new()).event_format(named).finish();
            tracing::subscriber::set_global_default(lines.with(filter))
        }
        LogFormat::Json => {
            // Printable ASCII without quotes and backslashes or not: as JSON it is right.
            let name = serde_json::Value::from(instance);
            let inner = Format::default().json().flatten_event(true);
            let named = Named { prefix: format!("{{\"instance\":{name},"), opens: "{", inner };
            let lines = lines.fmt_fields(JsonFields::new()).event_format(named).finish();
            tracing::subscriber::set_global_default(lines.with(filter))
        }
    };
}

/// A format whose lines begin with `prefix` in place of `opens`. No span could do it: spans belong to one thread each.
struct Named<F> {
    prefix: String,
    opens: &'static str,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Named<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        write!(writer, "{}{}", self.prefix, line.strip_prefix(self.opens).unwrap_or(&line))
    }
}
