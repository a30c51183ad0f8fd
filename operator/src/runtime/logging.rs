//! One line an event on standard error, for machines or for people.

use std::backtrace::Backtrace;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Words and colours.
    Human,
}

/// Installs the process's log, panics included.
///
/// # Errors
/// `filter` is no list of `target=level`.
pub fn init(format: Format, filter: &str) -> Result<(), ParseError> {
    let filter: EnvFilter = filter.parse()?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = super::controller::panic_text(panic.payload());
        tracing::error!(place, backtrace = %Backtrace::capture(), "panic: {text}");
    }));
    match format {
        Format::Json => log.json().flatten_event(true).with_current_span(true).with_span_list(false).init(),
        Format::Human => log.init(),
    }
    Ok(())
}
