//! From the claims of a provider to a user id and a display name.

use trunkline_domain::{DisplayName, UserId};

/// Returns the id `<issuer host>|<sub>`, or `None` if it is no user id, because it is longer than 128 bytes or contains white
/// space. A user whose id were shortened could be taken for another one.
pub(super) fn user_id(issuer_host: &str, subject: &str) -> Option<UserId> {
    if subject.is_empty() { None } else { format!("{issuer_host}|{subject}").parse().ok() }
}

/// Returns the first of the claims `name` and `preferred_username` that contains something visible, without control characters
/// and cut to the length of a display name.
pub(super) fn display_name(claims: [Option<&str>; 2]) -> Option<DisplayName> {
    claims.into_iter().flatten().find_map(|claim| {
        let name: String = claim.trim().chars().filter(|c| !c.is_control()).take(DisplayName::MAX_CHARS).collect();
        name.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn id_is_the_host_of_the_issuer_and_the_subject() {
        assert_eq!(user_id("id.example", "248289761001").unwrap().as_str(), "id.example|248289761001");
        assert_eq!(user_id("id.example", "auth0|17").unwrap().as_str(), "id.example|auth0|17");
    }

    #[test]
    fn subject_that_fits_no_user_id_is_refused() {
        for subject in ["", "a b", "a\nb", "a\u{2028}b", &"x".repeat(128)] {
            assert_eq!(user_id("id.example", subject), None, "{subject:?}");
        }
    }

    #[test]
    fn display_name_is_the_first_usable_claim() {
        let name = |claims| display_name(claims).map(|name| name.as_str().to_owned());
        assert_eq!(name([Some(" Ann Example "), Some("ann")]).as_deref(), Some("Ann Example"));
        assert_eq!(name([None, Some("ann")]).as_deref(), Some("ann"));
        assert_eq!(name([Some(" \u{200b}"), Some("ann")]).as_deref(), Some("ann"));
        assert_eq!(name([Some("A\u{7}nn\r\n"), None]).as_deref(), Some("Ann"));
        assert_eq!(name([None, None]), None);
        assert_eq!(name([Some(&"ä".repeat(100)), None]), Some("ä".repeat(64)));
    }

    proptest! {
        #[test]
        fn any_claim_gives_a_valid_name_or_none(claim in any::<String>()) {
            if let Some(name) = display_name([Some(&claim), None]) {
                prop_assert!(name.as_str().parse::<DisplayName>().is_ok());
            }
        }
    }
}
