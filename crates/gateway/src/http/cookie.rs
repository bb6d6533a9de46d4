//! Selects the session cookie of a request: one cookie with exactly its name, or none.
//!
//! actix-web decodes percent-encoded cookie names and uses the first of several cookies of one name. An attacker who
//! can plant a cookie (from a sibling domain, or over plain HTTP) could therefore put a session of their own in front
//! of a person's session. If it is ambiguous which cookie is meant, the request has no session.

use actix_session::storage::{LoadError, SessionKey, SessionStore};
use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    cookie::Cookie,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{COOKIE, HeaderMap, HeaderValue},
    middleware::Next,
    web,
};
use percent_encoding::percent_decode;
use trunkline_session::{Sessions, Sid};

use super::{HttpState, error::HttpError, identify::carries_token};

/// Length of the signature in front of the value of a signed cookie: 32 bytes in Base64.
const SIGNATURE_LENGTH: usize = 44;

/// Middleware outside of the session middleware. Removes every cookie but the session cookie, because one malformed
/// cookie of another application would make actix-web reject all; that of a login with an OpenID provider is kept beside. A cookie signed with an earlier key is signed again
/// with the current key. Answers 503 if several cookies have the name and the session store does not answer. A request with a
/// token loses its cookies.
pub(super) async fn select_session_cookie<S: Sessions, B: MessageBody + 'static>(
    state: web::Data<HttpState<S>>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if carries_token(&state.config, request.headers()) {
        // The token decides, so the session store need not be asked.
        request.headers_mut().remove(COOKIE);
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let name = &state.config.cookie.name;
    let found = find(request.headers(), name);
    if found.foreign && state.shared_cookie_name.occurred() {
        tracing::warn!(
            cookie = name,
            "a browser sent a cookie of this name that another service has set; the services log each other's users out: \
             give this one another --cookie-name"
        );
    }
    #[cfg(feature = "oidc")]
    super::oidc::keep_cookie(&state, &request);
    request.headers_mut().remove(COOKIE);
    let Ok(selected) = found.select(&state.sessions).await else {
        let answer = HttpError::Unavailable.answer(request.request());
        return Ok(request.into_response(answer).map_into_right_body());
    };
    if let Some(cookie) = selected {
        request.headers_mut().insert(COOKIE, cookie);
    }
    state.config.keys.sign_again(request.headers_mut(), name);
    Ok(next.call(request).await?.map_into_left_body())
}

/// The cookies of the session cookie's name in one request.
#[derive(Default)]
pub(crate) struct FoundCookies {
    /// Each with its session key if its value has the form of a session cookie.
    pub(crate) named: Vec<(HeaderValue, Option<SessionKey>)>,
    /// A value does not have the form of a session cookie.
    foreign: bool,
    /// A percent-encoded name decodes to the session cookie's, which only an attack produces.
    pub(crate) forged_name: bool,
}

/// Finds the cookies of a name. The headers are read cookie by cookie and as bytes, because cookies of other services
/// on the host can have any encoding.
pub(crate) fn find(headers: &HeaderMap, name: &str) -> FoundCookies {
    let mut found = FoundCookies::default();
    for pair in headers.get_all(COOKIE).flat_map(|line| line.as_bytes().split(|&b| b == b';')) {
        let pair = pair.trim_ascii();
        let key = pair.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii();
        if key == name.as_bytes() {
            let session_key = session_key(pair);
            found.foreign |= session_key.is_none() && pair.len() > name.len() + 1;
            found.named.extend(HeaderValue::from_bytes(pair).ok().map(|cookie| (cookie, session_key)));
        } else if key.contains(&b'%') && percent_decode(key).eq(name.bytes()) {
            found.forged_name = true;
        }
    }
    found
}

impl FoundCookies {
    /// Returns the cookie that identifies the session. Of several, it is the only one that belongs to a live session;
    /// if there are several such, one was planted, and none is used.
    ///
    /// # Errors
    /// The session store does not answer, so it is unknown which of several cookies is meant.
    async fn select(self, sessions: &impl SessionStore) -> Result<Option<HeaderValue>, LoadError> {
        if self.forged_name {
            return Ok(None);
        }
        let mut named = self.named;
        if named.len() > 1 {
            named.retain(|(_, key)| key.is_some());
        }
        if named.len() > 1 {
            let mut live = Vec::new();
            for (cookie, key) in named {
                if let Some(key) = &key
                    && sessions.load(key).await?.is_some()
                {
                    live.push((cookie, None));
                }
            }
            named = live;
        }
        Ok(match <[_; 1]>::try_from(named) {
            Ok([(cookie, _)]) => Some(cookie),
            Err(_) => None,
        })
    }
}

/// Returns the session key in a cookie, `<sid>.<secret>` after the signature, if the cookie has this form.
fn session_key(pair: &[u8]) -> Option<SessionKey> {
    let cookie = Cookie::parse_encoded(str::from_utf8(pair).ok()?).ok()?;
    let key = cookie.value().get(SIGNATURE_LENGTH..)?;
    let (sid, secret) = key.split_once('.')?;
    sid.parse::<Sid>().ok()?;
    let is_secret = secret.len() == 32 && secret.bytes().all(|b| b.is_ascii_hexdigit());
    is_secret.then(|| key.to_owned().try_into().ok())?
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use actix_session::storage::{SaveError, UpdateError};
    use actix_web::{cookie::time::Duration, rt::System};
    use proptest::prelude::*;
    use trunkline_session::{Lifetimes, MemorySessions};

    use super::*;

    fn found(lines: &[&[u8]]) -> FoundCookies {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        find(&headers, "jsessionid")
    }

    fn selected_bytes(lines: &[&[u8]]) -> Option<HeaderValue> {
        let sessions = MemorySessions::in_memory(Lifetimes::default());
        System::new().block_on(found(lines).select(&sessions)).unwrap()
    }

    fn selected(lines: &[&str]) -> Option<String> {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        selected_bytes(&lines).map(|line| line.to_str().unwrap().to_owned())
    }

    fn session_cookie() -> String {
        format!("jsessionid={}{}.{}", "A".repeat(44), "0f".repeat(32), "e1".repeat(16))
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

    #[test]
    fn bytes_of_other_cookies_do_not_matter() {
        for line in [
            &b"x=\xe9; jsessionid=a"[..],
            b"jsessionid=a; x=\xff\xfe",
            b"\xc3\x28=1; jsessionid=a",
            b"x=\t; jsessionid=a",
        ] {
            assert_eq!(selected_bytes(&[line]).unwrap(), "jsessionid=a");
        }
    }

    #[test]
    fn cookie_of_another_service_with_the_same_name_is_passed_over_and_noticed() {
        let ours = session_cookie();
        assert_eq!(selected(&[&format!("jsessionid=0123456789ABCDEF; {ours}")]), Some(ours.clone()));
        assert_eq!(selected(&[&ours, "jsessionid=x"]), Some(ours.clone()));
        assert!(found(&[b"jsessionid=0123456789ABCDEF"]).foreign);
        assert!(!found(&[ours.as_bytes(), b"other=x", b"jsessionid="]).foreign);
    }

    /// A store that does not answer.
    struct UnreachableStore;

    impl SessionStore for UnreachableStore {
        async fn load(&self, _: &SessionKey) -> Result<Option<HashMap<String, String>>, LoadError> {
            Err(LoadError::Other(anyhow::anyhow!("unreachable")))
        }

        async fn save(&self, _: HashMap<String, String>, _: &Duration) -> Result<SessionKey, SaveError> {
            unreachable!("cookies are selected without writes")
        }

        async fn update(
            &self,
            _: SessionKey,
            _: HashMap<String, String>,
            _: &Duration,
        ) -> Result<SessionKey, UpdateError> {
            unreachable!("cookies are selected without writes")
        }

        async fn update_ttl(&self, _: &SessionKey, _: &Duration) -> Result<(), anyhow::Error> {
            unreachable!("cookies are selected without writes")
        }

        async fn delete(&self, _: &SessionKey) -> Result<(), anyhow::Error> {
            unreachable!("cookies are selected without writes")
        }
    }

    #[test]
    fn none_of_several_session_cookies_is_selected_while_the_store_does_not_answer() {
        let ours = session_cookie();
        let select = |lines: &[&[u8]]| System::new().block_on(found(lines).select(&UnreachableStore));
        assert!(select(&[ours.as_bytes(), ours.as_bytes()]).is_err());
        assert_eq!(select(&[ours.as_bytes()]).unwrap().unwrap(), *ours, "one cookie needs no look-up");
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
