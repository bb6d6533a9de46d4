//! Settings of JSON Web Tokens.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};
use trunkline_gateway::jwt::{JwksUrl, KeySet, TokenRules, TokenSettings};

use super::secrets;

/// Which tokens are accepted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
pub(crate) struct TokenFlags {
    /// File with the keys that verify JSON Web Tokens: a JWKS document, public keys in PEM, or an HMAC secret of at least 32
    /// bytes. Enables tokens. Clients send a token as Authorization: Bearer, or as the subprotocol trunkline.token.TOKEN.
    #[arg(long, env = "TRUNKLINE_JWT_KEY_FILE", value_name = "FILE")]
    jwt_key_file: Option<PathBuf>,

    /// URL of a JWKS document with keys that verify tokens, in place of a file or beside one. Enables tokens. It is fetched at
    /// the start, every ten minutes, and at most once per minute when a token names an unknown key. While it cannot be
    /// fetched, the last keys remain valid, and /readyz shows it.
    #[arg(long, env = "TRUNKLINE_JWT_JWKS_URL", value_name = "URL")]
    jwt_jwks_url: Option<JwksUrl>,

    /// Issuer (iss) that tokens must have. By default it is not checked.
    #[arg(long, env = "TRUNKLINE_JWT_ISSUER", value_name = "ISSUER")]
    jwt_issuer: Option<String>,

    /// Audience (aud) that tokens must have. By default tokens that have an audience are refused.
    #[arg(long, env = "TRUNKLINE_JWT_AUDIENCE", value_name = "AUDIENCE")]
    jwt_audience: Option<String>,

    /// Lets users log in with a name of their choice although tokens are accepted or an OpenID provider is set. Only for
    /// development: such a user has the same id as a user whose token says this name. Otherwise the login with a name is
    /// always on.
    #[arg(long, env = "TRUNKLINE_NAME_LOGIN", value_parser = BoolishValueParser::new())]
    name_login: bool,
}

impl TokenFlags {
    /// Whether tokens are accepted.
    pub(crate) fn are_accepted(&self) -> bool {
        self.jwt_key_file.is_some() || self.jwt_jwks_url.is_some()
    }

    /// Whether users can log in with a name although they come from somewhere else.
    pub(crate) fn is_name_login_asked_for(&self) -> bool {
        self.name_login
    }

    /// Checks the rules that concern several flags.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        if !self.are_accepted() && (self.jwt_issuer.is_some() || self.jwt_audience.is_some()) {
            return Err(
                "--jwt-issuer and --jwt-audience need the keys of the issuer: set --jwt-key-file or --jwt-jwks-url",
            );
        }
        Ok(())
    }

    /// Reads the key file. Returns `None` if no tokens are accepted.
    ///
    /// # Errors
    /// What is wrong, with the file and the line.
    pub(super) fn load(&self) -> Result<Option<TokenSettings>, String> {
        if !self.are_accepted() {
            return Ok(None);
        }
        let read = |path: &PathBuf| {
            let keys = secrets::read_bytes(path)
                .and_then(|bytes| KeySet::from_file(&bytes).map_err(|error| error.to_string()));
            keys.map_err(|why| format!("--jwt-key-file {}: {why}", path.display()))
        };
        Ok(Some(TokenSettings {
            keys: self.jwt_key_file.as_ref().map(read).transpose()?,
            jwks_url: self.jwt_jwks_url.clone(),
            rules: TokenRules { issuer: self.jwt_issuer.clone(), audience: self.jwt_audience.clone() },
        }))
    }
}
