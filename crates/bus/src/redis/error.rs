//! What an error of Redis means for the caller, and for the connection on which it arrived.

use redis::{RedisError, ServerErrorKind};

use crate::{BusError, ErrorKind};

/// What the caller of a failed command can do.
fn kind(error: &RedisError) -> ErrorKind {
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    match error.code() {
        // Redis checks these before the first write of a script, which is its first command that Redis may refuse. It checks
        // the permission (NOPERM) for every command of a script, so earlier ones may have written.
        Some("OOM" | "MISCONF" | "READONLY" | "NOREPLICAS") => ErrorKind::Rejected,
        _ => ErrorKind::Unavailable,
    }
}

/// Whether the connection must be replaced: it failed, or Redis is no longer in the state in which it was connected.
pub(super) fn ends_link(error: &RedisError) -> bool {
    let changed = [ServerErrorKind::NoScript, ServerErrorKind::ReadOnly, ServerErrorKind::BusyLoading];
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.is_io_error()
        || changed.iter().any(|&kind| error.kind() == redis::ErrorKind::Server(kind))
}

/// Redis replied with something that is not a valid reply to the command.
pub(super) fn unexpected_reply(what: &'static str) -> BusError {
    BusError::new(ErrorKind::Unavailable, what)
}

impl From<RedisError> for BusError {
    fn from(error: RedisError) -> Self {
        Self::new(kind(&error), error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn server(reply: &str) -> RedisError {
        let mut bytes = format!("-{reply}\r\n").into_bytes();
        bytes.shrink_to_fit();
        redis::parse_redis_value(&bytes).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn error_kind_says_what_the_caller_can_do() {
        let table = [
            (server("OOM command not allowed when used memory > 'maxmemory'."), ErrorKind::Rejected, false),
            (server("MISCONF Redis is configured to save RDB snapshots"), ErrorKind::Rejected, false),
            (server("NOREPLICAS Not enough good replicas to write."), ErrorKind::Rejected, false),
            (server("READONLY You can't write against a read only replica."), ErrorKind::Rejected, true),
            (server("NOPERM this user has no permissions"), ErrorKind::Unavailable, false),
            (server("NOSCRIPT No matching script."), ErrorKind::Unavailable, true),
            (server("LOADING Redis is loading the dataset in memory"), ErrorKind::Unavailable, true),
            (server("ERR something"), ErrorKind::Unavailable, false),
            (io::Error::from(io::ErrorKind::ConnectionReset).into(), ErrorKind::Unavailable, true),
            (io::Error::from(io::ErrorKind::TimedOut).into(), ErrorKind::Timeout, true),
        ];
        for (error, expected, ends) in table {
            assert_eq!((kind(&error), ends_link(&error)), (expected, ends), "{error}");
        }
    }
}
