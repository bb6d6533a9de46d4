//! Where a request carries a token: `Authorization: Bearer` (RFC 6750 section 2.1), or a subprotocol of the WebSocket
//! handshake, because browsers cannot set other headers there. Never in a URL, which proxies log.

use actix_web::http::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};

/// The prefix of the token in the list of subprotocols.
const SUBPROTOCOL_PREFIX: &str = "trunkline.token.";

/// The request carries several tokens, or one that is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request carries several tokens, or one that is not text")]
pub(crate) struct AmbiguousToken;

/// Returns the token of a request, if it carries one. Other schemes of `Authorization` are ignored.
///
/// # Errors
/// [`AmbiguousToken`]: RFC 6750 section 2 allows one method per request.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<&str>, AmbiguousToken> {
    let bearer = headers.get_all(AUTHORIZATION).filter_map(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked("Bearer".len())?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
        scheme
            .eq_ignore_ascii_case(b"Bearer")
            .then(|| std::str::from_utf8(rest).map(str::trim).map_err(|_| AmbiguousToken))
    });
    let subprotocols = subprotocols(headers).filter_map(|name| name.strip_prefix(SUBPROTOCOL_PREFIX)).map(Ok);
    let mut tokens = bearer.chain(subprotocols);
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) => token.map(Some),
        (Some(_), Some(_)) => Err(AmbiguousToken),
    }
}

/// Returns whether a request carries a token, or several.
pub(crate) fn carries_token(headers: &HeaderMap) -> bool {
    !matches!(token(headers), Ok(None))
}

/// Returns the offered subprotocols.
fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn token_of(lines: &[(&'static str, &[u8])]) -> Result<Option<String>, AmbiguousToken> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn token_is_found_in_either_header() {
        for (lines, expected) in [
            (&[][..], None),
            (&[("authorization", b"Bearer a.b.c" as &[u8])][..], Some("a.b.c")),
            (&[("authorization", b"bearer   a.b.c ")], Some("a.b.c")),
            (&[("authorization", b"Bearer")], Some("")),
            (&[("authorization", b"Basic YTpi")], None),
            (&[("authorization", b"Bearers a")], None),
            (&[("authorization", b"")], None),
            (&[("authorization", b"Basic YTpi"), ("authorization", b"Bearer a.b.c")], Some("a.b.c")),
            (&[("sec-websocket-protocol", b"trunkline.v1, trunkline.token.a.b.c")], Some("a.b.c")),
            (
                &[("sec-websocket-protocol", b"trunkline.v1"), ("sec-websocket-protocol", b"trunkline.token.x")],
                Some("x"),
            ),
            (&[("sec-websocket-protocol", b"trunkline.v1")], None),
            (&[("sec-websocket-protocol", b"trunkline.v1,,Trunkline.Token.x")], None),
            (&[("cookie", b"token=a.b.c")], None),
        ] {
            assert_eq!(token_of(lines), Ok(expected.map(str::to_owned)), "{lines:?}");
        }
    }

    #[test]
    fn several_tokens_are_refused() {
        for lines in [
            &[("authorization", b"Bearer a" as &[u8]), ("authorization", b"Bearer a")][..],
            &[("authorization", b"Bearer a"), ("sec-websocket-protocol", b"trunkline.token.a")],
            &[("sec-websocket-protocol", b"trunkline.token.a, trunkline.token.b")],
            &[("authorization", b"Bearer \xff")],
        ] {
            assert_eq!(token_of(lines), Err(AmbiguousToken), "{lines:?}");
        }
    }
}
