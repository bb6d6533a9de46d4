//! The settings of an OpenID provider with which users log in.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

/// An OpenID provider, and what it knows this service as. The provider must offer discovery (OpenID Connect Discovery 1.0).
///
/// # Examples
/// ```
/// use trunkline_gateway::OidcConfig;
///
/// let oidc = OidcConfig::new("https://id.example.org", "chat", "the client secret")?.named("Example");
/// assert_eq!(oidc.name(), "Example");
/// # Ok::<(), trunkline_gateway::InvalidOidc>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct OidcConfig {
    issuer: Url,
    /// As it was given: issuers are compared byte for byte, and `Url` would add a slash.
    issuer_text: String,
    client_id: String,
    secret: String,
    name: Option<String>,
}

/// Why a provider cannot be used. No text contains the client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOidc {
    /// The issuer is not a URL of the expected form.
    #[error("an issuer is a URL such as https://id.example.org, without user, query and fragment")]
    Issuer,
    /// The issuer is reached without TLS, over which the client secret would be sent in clear text.
    #[error(
        "an issuer must be https; http is accepted for a provider on this machine only (127.0.0.1, ::1 or localhost)"
    )]
    Plaintext,
    /// The client id is empty.
    #[error("the client id is empty: enter the one under which the provider has registered this service")]
    ClientId,
    /// The client secret is empty, or has characters that no provider issues.
    #[error(
        "the client secret must be one line of printable ASCII characters: enter the one that the provider has issued"
    )]
    Secret,
}

impl OidcConfig {
    /// A provider. `issuer` is exactly the `issuer` of its discovery document, which is requested when the first user logs
    /// in.
    ///
    /// # Errors
    /// [`InvalidOidc`] names the argument that cannot be used.
    pub fn new(issuer: &str, client_id: &str, secret: &str) -> Result<Self, InvalidOidc> {
        let url = Url::parse(issuer).map_err(|_| InvalidOidc::Issuer)?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !is_plain || url.fragment().is_some() || url.host().is_none() {
            return Err(InvalidOidc::Issuer);
        }
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if is_local => {}
            "http" => return Err(InvalidOidc::Plaintext),
            _ => return Err(InvalidOidc::Issuer),
        }
        if client_id.is_empty() {
            return Err(InvalidOidc::ClientId);
        }
        if secret.is_empty() || !secret.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err(InvalidOidc::Secret);
        }
        Ok(Self {
            issuer: url,
            issuer_text: issuer.to_owned(),
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            name: None,
        })
    }

    /// Sets the name of the provider on the login page. Without it, that is the issuer's host.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()).filter(|name| !name.trim().is_empty()), ..self }
    }

    /// The name of the provider on the login page.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.host())
    }

    /// The issuer's host, with which the ids of its users begin.
    pub(crate) fn host(&self) -> &str {
        self.issuer.host_str().unwrap_or_default()
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer_text
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcConfig")
            .field("issuer", &self.issuer_text)
            .field("client_id", &self.client_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why a login with the provider fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderFailure {
    /// The login took too long, was not started by this browser, or its code is not valid any more.
    #[error("this login has expired, or was not started here; start again at the login page")]
    Expired,
    /// The provider does not log the user in, or its answer is not acceptable.
    #[error("the identity provider did not log you in; start again at the login page")]
    Refused,
    /// The provider does not answer as expected.
    #[error("the identity provider does not answer; nothing was changed, try again in a few seconds")]
    Away,
}

impl ProviderFailure {
    /// The `code` of the answer, which programs compare.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Expired => "login_expired",
            Self::Refused => "login_refused",
            Self::Away => "provider_unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_must_be_https_or_on_this_machine() {
        for issuer in [
            "https://id.example.org",
            "https://id.example.org/",
            "https://id.example.org:8443/realms/chat",
            "http://127.0.0.1:3000",
            "http://localhost:3000",
            "http://[::1]:3000",
        ] {
            let config = OidcConfig::new(issuer, "chat", "secret").unwrap();
            assert_eq!(config.issuer(), issuer, "not normalized");
        }
        for (issuer, error) in [
            ("", InvalidOidc::Issuer),
            ("id.example.org", InvalidOidc::Issuer),
            ("ftp://id.example.org", InvalidOidc::Issuer),
            ("https://u:p@id.example.org", InvalidOidc::Issuer),
            ("https://id.example.org/?x", InvalidOidc::Issuer),
            ("https://id.example.org/#x", InvalidOidc::Issuer),
            ("data:x", InvalidOidc::Issuer),
            ("http://id.example.org", InvalidOidc::Plaintext),
            ("http://127.0.0.1.example.org", InvalidOidc::Plaintext),
        ] {
            assert_eq!(OidcConfig::new(issuer, "chat", "secret"), Err(error), "{issuer}");
        }
    }

    #[test]
    fn client_id_and_secret_are_required() {
        assert_eq!(OidcConfig::new("https://id.example", "", "secret"), Err(InvalidOidc::ClientId));
        for secret in ["", "two\nlines", "ä"] {
            assert_eq!(OidcConfig::new("https://id.example", "chat", secret), Err(InvalidOidc::Secret));
        }
    }

    #[test]
    fn name_defaults_to_the_host_and_debug_shows_no_secret() {
        let config = OidcConfig::new("https://id.example:8443/x", "chat", "hunter2").unwrap();
        assert_eq!((config.name(), config.host()), ("id.example", "id.example"));
        assert_eq!(config.clone().named("  ").name(), "id.example");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.named("Example").name(), "Example");
    }
}
