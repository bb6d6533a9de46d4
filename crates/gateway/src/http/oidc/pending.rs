//! A login that is under way at the provider, as the browser keeps it in a signed cookie. Any instance can finish it.

use std::time::Duration;

use crate::http::login::local_path;

/// Maximum time between the start of a login and its return from the provider.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// The state of a login until the provider sends the browser back.
///
/// The cookie is signed, so a page of another site cannot make up a login; it is readable by its browser, to which none of it
/// is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingLogin {
    /// Returned by the provider with the browser; proves that this browser started the login (RFC 6749 section 10.12).
    pub(super) state: String,
    /// Part of the ID token; proves that the token was issued for this login (OpenID Connect Core section 3.1.2.1).
    pub(super) nonce: String,
    /// Sent with the code; proves that the code was issued for this login (RFC 7636).
    pub(super) verifier: String,
    /// The local path to which the login leads.
    pub(super) next: Option<String>,
    /// Start of the login, in seconds since the Unix epoch.
    started: u64,
}

impl PendingLogin {
    /// A login that starts now. `random` are 512 random bits.
    pub(super) fn new(random: [u128; 4], next: Option<&str>, now: Duration) -> Self {
        let [state, nonce, high, low] = random;
        Self {
            state: format!("{state:032x}"),
            nonce: format!("{nonce:032x}"),
            verifier: format!("{high:032x}{low:032x}"),
            next: next.and_then(local_path).map(str::to_owned),
            started: now.as_secs(),
        }
    }

    /// The content of the cookie, before it is signed.
    pub(super) fn to_text(&self) -> String {
        let Self { state, nonce, verifier, next, started } = self;
        format!("{started}.{state}.{nonce}.{verifier}.{}", next.as_deref().unwrap_or_default())
    }

    /// Returns the login that a cookie describes, unless it is too old or was started with another state. An age of less than
    /// zero is accepted: the clocks of two instances differ.
    pub(super) fn resume(text: &str, state: &str, now: Duration) -> Option<Self> {
        let mut parts = text.splitn(5, '.');
        let mut part = || parts.next().map(str::to_owned);
        let started = part()?.parse().ok()?;
        let pending = Self { state: part()?, nonce: part()?, verifier: part()?, next: part(), started };
        let next = pending.next.as_deref().and_then(local_path).map(str::to_owned);
        let is_valid = pending.state == state && now.as_secs().saturating_sub(started) < MAX_AGE.as_secs();
        is_valid.then_some(Self { next, ..pending })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn login(next: Option<&str>) -> PendingLogin {
        PendingLogin::new([1, 2, 3, 4], next, NOW)
    }

    #[test]
    fn login_is_resumed_with_its_state_within_ten_minutes() {
        let pending = login(Some("/rooms/a.b?x=1.2"));
        let (text, state) = (pending.to_text(), &pending.state);
        assert_eq!(PendingLogin::resume(&text, state, NOW), Some(pending.clone()));
        assert_eq!(PendingLogin::resume(&text, state, NOW + MAX_AGE - Duration::from_secs(1)), Some(pending.clone()));
        assert_eq!(PendingLogin::resume(&text, state, NOW + MAX_AGE), None);
        assert_eq!(PendingLogin::resume(&text, &pending.nonce, NOW), None);
        assert_eq!(PendingLogin::resume(&text, "", NOW), None);
        assert!(PendingLogin::resume(&text, state, NOW - Duration::from_secs(5)).is_some(), "a clock that is behind");
    }

    #[test]
    fn only_local_paths_are_kept() {
        assert_eq!(login(Some("//evil.example")).next, None);
        let forged = login(None).to_text() + "//evil.example";
        assert_eq!(PendingLogin::resume(&forged, &login(None).state, NOW).unwrap().next, None);
        assert_eq!(login(None).next, None);
    }

    #[test]
    fn verifier_has_the_length_and_characters_of_rfc_7636() {
        let verifier = PendingLogin::new([u128::MAX, 0, 0, u128::MAX], None, NOW).verifier;
        assert!((43..=128).contains(&verifier.len()) && verifier.bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}", state in "[a-f0-9]{0,4}") {
            let _ = PendingLogin::resume(&text, &state, NOW);
        }
    }
}
