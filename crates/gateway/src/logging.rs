//! Log lines on standard error, each with the instance name.

mod queue;

use std::{fmt, io, panic, time::Duration};

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

use self::queue::LogQueue;
use crate::settings::LogFormat;

/// Maximum time for the last log lines of the process to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes the waiting lines when it is dropped, at the end of the process.
#[must_use = "dropping it ends the log"]
pub(crate) struct LogGuard(LogQueue);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// Starts to log the lines that pass `filter`. Panics are logged as well.
///
/// # Errors
/// Returns an error if the writer thread cannot be started.
pub(crate) fn start(format: LogFormat, filter: Targets, instance: &str) -> io::Result<LogGuard> {
    let queue = LogQueue::start()?;
    let lines =
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(queue.clone()).with_ansi(false);
    // Fails only if a subscriber is already set; this is the only place that sets one.
    let _ = match format {
        LogFormat::Text => {
            let inner = Format::default();
            let named = WithInstanceName { prefix: format!("{instance} "), opens: "", inner };
            let lines = lines.fmt_fields(DefaultFields::new()).event_format(named).finish();
            tracing::subscriber::set_global_default(lines.with(filter))
        }
        LogFormat::Json => {
            let name = serde_json::Value::from(instance);
            let inner = Format::default().json().flatten_event(true);
            let named = WithInstanceName { prefix: format!("{{\"instance\":{name},"), opens: "{", inner };
            let lines = lines.fmt_fields(JsonFields::new()).event_format(named).finish();
            tracing::subscriber::set_global_default(lines.with(filter))
        }
    };
    // The default hook writes to standard error, where it would block or panic again.
    panic::set_hook(Box::new(|panic| tracing::error!("a task panicked; its connection is closed: {panic}")));
    Ok(LogGuard(queue))
}

/// A format that replaces `opens` at the start of each line with `prefix`. A span could not carry the instance name to
/// all threads, because a span is entered on one thread.
struct WithInstanceName<F> {
    prefix: String,
    opens: &'static str,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for WithInstanceName<F>
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
