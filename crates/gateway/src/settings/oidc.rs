//! Settings of the OpenID provider.

use std::path::PathBuf;

use clap::Args;
use trunkline_gateway::{InvalidOidc, OidcConfig};

use super::secrets;

/// The OpenID provider with which users log in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "OpenID Connect")]
pub(crate) struct OidcFlags {
    /// Issuer of the OpenID provider with which users log in, exactly as its discovery document spells it, such as
    /// https://id.example.org. Register ORIGIN/login/oidc/callback there as the redirect URI and ORIGIN/ as the URI after a
    /// logout, with the public origin. The login with a name is then off, unless --name-login is set.
    #[arg(long, env = "TRUNKLINE_OIDC_ISSUER", value_name = "URL")]
    oidc_issuer: Option<String>,

    /// Id under which the OpenID provider has registered this service.
    #[arg(long, env = "TRUNKLINE_OIDC_CLIENT_ID", value_name = "ID")]
    oidc_client_id: Option<String>,

    /// File with the client secret that the OpenID provider has issued, in one line.
    #[arg(long, env = "TRUNKLINE_OIDC_SECRET_FILE", value_name = "FILE")]
    oidc_secret_file: Option<PathBuf>,

    /// Name of the OpenID provider on the login page. Defaults to the host of the issuer.
    #[arg(long, env = "TRUNKLINE_OIDC_NAME", value_name = "NAME")]
    oidc_name: Option<String>,
}

impl OidcFlags {
    /// Whether users log in with a provider.
    pub(crate) fn is_on(&self) -> bool {
        self.oidc_issuer.is_some()
    }

    /// Reads the client secret. `None` if no provider is set.
    ///
    /// # Errors
    /// What is wrong, and what to do. Contains no part of the secret.
    pub(super) fn load(&self) -> Result<Option<OidcConfig>, String> {
        let (issuer, client_id, file) = match (&self.oidc_issuer, &self.oidc_client_id, &self.oidc_secret_file) {
            (Some(issuer), Some(client_id), Some(file)) => (issuer, client_id, file),
            (None, None, None) if self.oidc_name.is_none() => return Ok(None),
            _ => {
                return Err(
                    "a login with an OpenID provider needs --oidc-issuer, --oidc-client-id and --oidc-secret-file: \
                            set all three, or none of the --oidc flags"
                        .to_owned(),
                );
            }
        };
        let secret = secrets::read(file).map_err(|why| format!("--oidc-secret-file {}: {why}", file.display()))?;
        let oidc = OidcConfig::new(issuer, client_id, secret.trim()).map_err(|why| match why {
            InvalidOidc::Issuer | InvalidOidc::Plaintext => format!("--oidc-issuer: {why}"),
            InvalidOidc::ClientId => format!("--oidc-client-id: {why}"),
            InvalidOidc::Secret => format!("--oidc-secret-file {}: {why}", file.display()),
        })?;
        Ok(Some(oidc.named(self.oidc_name.as_deref().unwrap_or_default())))
    }
}
