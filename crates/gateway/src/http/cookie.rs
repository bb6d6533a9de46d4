//! Which cookie is looked at: one session cookie, under its own name.
//!
//! actix decodes percent-encoded cookie names and takes the first match of several, so somebody who can plant a cookie
//! (from a sister domain, or over plain http) could put a session of their own in front of a person's. Where it is not
//! clear which cookie is meant, nobody is logged in.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{COOKIE, HeaderMap, HeaderValue},
    middleware::Next,
    web,
};
use trunkline_session::Sessions;

use super::Site;

/// Middleware outside of the session's: lets the session cookie through where there is exactly one, and no other cookie,
/// since a malformed foreign one would spoil the parsing of all. One that an earlier key signed counts as signed by the
/// present one.
pub(super) async fn only_ours<S: Sessions, B: MessageBody + 'static>(
    site: web::Data<Site<S>>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let name = &site.config.cookie.name;
    reduce(request.headers_mut(), name);
    site.config.keys.sign_again(request.headers_mut(), name);
    next.call(request).await
}

/// Leaves the one cookie of this name, or none.
fn reduce(headers: &mut HeaderMap, name: &str) {
    let found = headers.remove(COOKIE).map(|line| only(&line, name)).fold(Found::None, Found::and);
    if let Found::One(line) = found {
        headers.insert(COOKIE, line);
    }
}

/// Cookies of the name.
enum Found {
    None,
    One(HeaderValue),
    Unclear,
}

impl Found {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, found) | (found, Self::None) => found,
            _ => Self::Unclear,
        }
    }
}

/// What one `Cookie` header brings.
fn only(line: &HeaderValue, name: &str) -> Found {
    // Not ASCII: no cookie of ours.
    let Ok(text) = line.to_str() else { return Found::Unclear };
    text.split(';').fold(Found::None, |found, pair| {
        let key = pair.split('=').next().unwrap_or_default().trim();
        let this = if key == name {
            HeaderValue::from_str(pair.trim()).map_or(Found::Unclear, Found::One)
        } else if key.contains('%') && percent_decoded(key) == name.as_bytes() {
            Found::Unclear
        } else {
            Found::None
        };
        found.and(this)
    })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        match after {
            [high, low, after @ ..] if first == b'%' => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    // Two hexadecimal digits are below 256.
                    bytes.push((high * 16 + low) as u8);
                    rest = after;
                    continue;
                }
                _ => bytes.push(first),
            },
            _ => bytes.push(first),
        }
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        reduce(&mut headers, "jsessionid");
        assert!(headers.get_all(COOKIE).count() <= 1);
        headers.get(COOKIE).map(|line| line.to_str().unwrap().to_owned())
    }

    #[test]
    fn one_session_cookie_or_none() {
        let one = Some("jsessionid=a%2Fb".to_owned());
        assert_eq!(left(&[]), None);
        assert_eq!(left(&["x=1; jsessionid=a%2Fb; y=2"]), one);
        assert_eq!(left(&["x=1", "jsessionid=a%2Fb"]), one);
        // Foreign rubbish does no harm.
        assert_eq!(left(&["rubbish; jsessionid=a%2Fb;;"]), one);
        assert_eq!(left(&["%zz=1; jsessionid=a%2Fb; %=; %6=2"]), one);
        assert_eq!(left(&["JSESSIONID=x; jsessionid=a%2Fb; xjsessionid=c"]), one);
        // Two, however they come.
        assert_eq!(left(&["jsessionid=a; jsessionid=b"]), None);
        assert_eq!(left(&["jsessionid=a; jsessionid=a"]), None);
        assert_eq!(left(&["jsessionid=a", "jsessionid=b"]), None);
        assert_eq!(left(&["jsessionid=a; jsessionid"]), None);
        // Under another name that decodes to ours.
        assert_eq!(left(&["%6asessionid=a"]), None);
        assert_eq!(left(&["jsession%69d=a; jsessionid=b"]), None);
        assert_eq!(left(&["jsessionid=b; %6A%73%65%73%73%69%6F%6E%69%64=a"]), None);
    }

    proptest! {
        #[test]
        fn what_is_left_is_a_cookie_of_ours(line in "[ -~]{0,80}") {
            if let Some(left) = left(&[&line]) {
                prop_assert!(left.starts_with("jsessionid"));
                prop_assert!(!left.contains(';'));
            }
        }

        #[test]
        fn an_encoded_name_never_passes(mask in prop::collection::vec(any::<bool>(), 10)) {
            prop_assume!(mask.contains(&true));
            let name: String = "jsessionid".bytes().zip(mask)
                .map(|(b, encode)| if encode { format!("%{b:02x}") } else { char::from(b).to_string() }).collect();
            prop_assert_eq!(left(&[&format!("{name}=a")]), None);
            prop_assert_eq!(left(&[&format!("{name}=a; jsessionid=b")]), None);
        }
    }
}
