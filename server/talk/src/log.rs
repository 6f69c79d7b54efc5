//! How much is logged, in tracing's words.

/// The level of a setting.
pub fn level(level: config::Level) -> tracing::Level {
    match level {
        config::Level::Error => tracing::Level::ERROR,
        config::Level::Warn => tracing::Level::WARN,
        config::Level::Info => tracing::Level::INFO,
        config::Level::Debug => tracing::Level::DEBUG,
        config::Level::Trace => tracing::Level::TRACE,
    }
}
