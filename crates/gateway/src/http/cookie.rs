//! Selects the session cookie of a request: one cookie with exactly its name, or none.
//!
//! actix-web decodes percent-encoded cookie names and uses the first of several cookies of one name. An attacker who
//! can plant a cookie (from a sibling domain, or over plain HTTP) could therefore put a session of their own in front
//! of a person's session. If it is ambiguous which cookie is meant, the request has no session.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{COOKIE, HeaderMap, HeaderValue},
    middleware::Next,
    web,
};
use percent_encoding::percent_decode;
use trunkline_session::Sessions;

use super::HttpState;

/// Middleware outside of the session middleware. Removes every cookie but the session cookie, because one malformed
/// cookie of another application would make actix-web reject all. A cookie signed with an earlier key is signed again
/// with the current key.
pub(super) async fn select_session_cookie<S: Sessions, B: MessageBody + 'static>(
    state: web::Data<HttpState<S>>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let name = &state.config.cookie.name;
    reduce(request.headers_mut(), name);
    state.config.keys.sign_again(request.headers_mut(), name);
    next.call(request).await
}

/// Leaves the one cookie of this name, or none.
pub(crate) fn reduce(headers: &mut HeaderMap, name: &str) {
    let found = headers.remove(COOKIE).map(|line| find(&line, name)).fold(CookieMatch::None, CookieMatch::and);
    if let CookieMatch::One(line) = found {
        headers.insert(COOKIE, line);
    }
}

/// The cookies of a name.
enum CookieMatch {
    None,
    One(HeaderValue),
    Ambiguous,
}

impl CookieMatch {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, found) | (found, Self::None) => found,
            _ => Self::Ambiguous,
        }
    }
}

/// Finds the cookies of a name in one `Cookie` header.
fn find(line: &HeaderValue, name: &str) -> CookieMatch {
    // The header is judged cookie by cookie and as bytes, so that odd bytes in the cookie of another application do no
    // harm.
    line.as_bytes().split(|&b| b == b';').fold(CookieMatch::None, |found, pair| {
        let pair = pair.trim_ascii();
        let key = pair.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii();
        let this = if key == name.as_bytes() {
            HeaderValue::from_bytes(pair).map_or(CookieMatch::Ambiguous, CookieMatch::One)
        } else if key.contains(&b'%') && percent_decode(key).eq(name.bytes()) {
            CookieMatch::Ambiguous
        } else {
            CookieMatch::None
        };
        found.and(this)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selected(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        reduce(&mut headers, "jsessionid");
        assert!(headers.get_all(COOKIE).count() <= 1);
        headers.get(COOKIE).map(|line| line.to_str().unwrap().to_owned())
    }

    #[test]
    fn selects_the_only_cookie_of_the_name() {
        let one = Some("jsessionid=a%2Fb".to_owned());
        assert_eq!(selected(&[]), None);
        assert_eq!(selected(&["x=1; jsessionid=a%2Fb; y=2"]), one);
        assert_eq!(selected(&["x=1", "jsessionid=a%2Fb"]), one);
        // Malformed cookies of other applications.
        assert_eq!(selected(&["rubbish; jsessionid=a%2Fb;;"]), one);
        assert_eq!(selected(&["%zz=1; jsessionid=a%2Fb; %=; %6=2"]), one);
        assert_eq!(selected(&["JSESSIONID=x; jsessionid=a%2Fb; xjsessionid=c"]), one);
        // Two cookies of the name, in one header or in two.
        assert_eq!(selected(&["jsessionid=a; jsessionid=b"]), None);
        assert_eq!(selected(&["jsessionid=a; jsessionid=a"]), None);
        assert_eq!(selected(&["jsessionid=a", "jsessionid=b"]), None);
        assert_eq!(selected(&["jsessionid=a; jsessionid"]), None);
        // A name that decodes to ours.
        assert_eq!(selected(&["%6asessionid=a"]), None);
        assert_eq!(selected(&["jsession%69d=a; jsessionid=b"]), None);
        assert_eq!(selected(&["jsessionid=b; %6A%73%65%73%73%69%6F%6E%69%64=a"]), None);
    }

    proptest! {
        #[test]
        fn selected_cookie_has_the_name(line in "[ -~]{0,80}") {
            if let Some(selected) = selected(&[&line]) {
                prop_assert!(selected.starts_with("jsessionid"));
                prop_assert!(!selected.contains(';'));
            }
        }

        #[test]
        fn percent_encoded_name_is_never_selected(mask in prop::collection::vec(any::<bool>(), 10)) {
            prop_assume!(mask.contains(&true));
            let name: String = "jsessionid".bytes().zip(mask)
                .map(|(b, encode)| if encode { format!("%{b:02x}") } else { char::from(b).to_string() }).collect();
            prop_assert_eq!(selected(&[&format!("{name}=a")]), None);
            prop_assert_eq!(selected(&[&format!("{name}=a; jsessionid=b")]), None);
        }
    }
}
