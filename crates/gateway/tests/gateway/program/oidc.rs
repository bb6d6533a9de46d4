//! The login with an OpenID provider, and what goes wrong in it. A whole login needs a browser: see the tests named `browser`.

use std::time::{Duration, Instant};

use trunkline_testbed::{Gateway, free_port};

use super::{
    SECOND, SECRET,
    client::{Response, load, log_in, request},
    gateway,
};
use crate::provider::{self, CLIENT_SECRET, OidcProvider};

const JSON: &[u8] = b"Accept: application/json";

/// A gateway, and the provider with which its users log in.
struct Login {
    gateway: Gateway,
    provider: OidcProvider,
    port: u16,
}

impl Login {
    fn start() -> Self {
        let port = free_port().unwrap();
        let provider = OidcProvider::start(port);
        let gateway = started(port, &provider.flags());
        Self { gateway, provider, port }
    }

    /// Starts a login; returns its cookie and its state.
    fn begin(&self) -> (String, String) {
        let answer = load(self.port, "/login/oidc?next=%2Frooms%2Fkitchen", &[]);
        assert_eq!(answer.status(), 303, "{answer:?}");
        let url = url::Url::parse(answer.header("location").unwrap()).unwrap();
        let parameter =
            |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        assert_eq!(parameter("response_type").as_deref(), Some("code"));
        assert_eq!(parameter("code_challenge_method").as_deref(), Some("S256"));
        assert_eq!(parameter("scope").as_deref(), Some("openid profile"));
        assert!(parameter("nonce").is_some_and(|nonce| nonce.len() == 32));
        let callback = format!("http://127.0.0.1:{}/login/oidc/callback", self.port);
        assert_eq!(parameter("redirect_uri"), Some(callback));
        (answer.cookie(), parameter("state").unwrap())
    }

    /// The return from the provider, as a program sees it.
    fn returns(&self, query: &str, cookie: &str) -> Response {
        callback(self.port, query, cookie)
    }
}

fn started(port: u16, flags: &[String]) -> Gateway {
    let builder = gateway().listen(port).env("TRUNKLINE_SECRET", SECRET.repeat(2)).args(flags);
    builder.arg("--login-rate").arg("0").start().unwrap()
}

fn callback(port: u16, query: &str, cookie: &str) -> Response {
    let cookie = format!("Cookie: {cookie}");
    request(port, &format!("GET /login/oidc/callback?{query}"), &[JSON, cookie.as_bytes()], "")
}

fn assert_code(answer: &Response, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert!(answer.0.contains(&format!(r#""code":"{code}""#)), "{answer:?}");
}

/// Waits until the gateway has written a line with this text. Returns all lines.
fn until_logged(gateway: &Gateway, text: &str) -> String {
    let deadline = Instant::now() + 10 * SECOND;
    loop {
        let lines = gateway.last_lines();
        if lines.contains(text) {
            return lines;
        }
        assert!(Instant::now() < deadline, "{text} is not in {lines}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn login_that_this_browser_did_not_start_is_refused() {
    let login = Login::start();
    let (cookie, state) = login.begin();
    let (other_cookie, other_state) = login.begin();
    assert_ne!(state, other_state);
    let (name, value) = cookie.split_once('=').unwrap();
    let value_of_another_key = value.replacen(|c: char| c.is_ascii_lowercase(), "0", 1);
    let tampered = cookie.replace(&state, &other_state);
    assert_ne!(tampered, cookie);
    for (query, cookie) in [
        (format!("code=x&state={state}"), String::new()),
        (format!("code=x&state={state}"), other_cookie.clone()),
        (format!("code=x&state={other_state}"), tampered),
        (format!("code=x&state={state}"), format!("{name}={value_of_another_key}")),
        (format!("code=x&state={state}"), format!("{cookie}; {other_cookie}")),
        ("code=x".to_owned(), cookie.clone()),
        ("code=x&state=".to_owned(), cookie.clone()),
        (format!("state={state}"), cookie.clone()),
        (format!("code=x&state={state}&iss=https%3A%2F%2Fevil.example"), cookie.clone()),
        (String::new(), String::new()),
        ("code=%ff&state=%00".to_owned(), cookie),
    ] {
        let answer = login.returns(&query, &cookie);
        assert_code(&answer, 400, "login_expired");
        assert!(!answer.0.contains("jsessionid="), "no session: {answer:?}");
    }
    let page = load(login.port, "/login/oidc/callback?code=x&state=y", &[]);
    assert_eq!(page.status(), 400);
    assert!(page.0.contains("Start again.") && page.0.contains(r#"href="/login/oidc""#), "{page:?}");
}

#[test]
fn code_that_the_provider_did_not_issue_is_refused_and_not_logged() {
    let login = Login::start();
    let (cookie, state) = login.begin();
    let answer = login.returns(&format!("code=a-forged-code&state={state}"), &cookie);
    assert_code(&answer, 400, "login_expired");
    assert!(answer.0.contains("jsessionid-oidc=; ") && answer.0.contains("Max-Age=0"), "the login is over: {answer:?}");
    let lines = until_logged(&login.gateway, "the provider refused the code");
    assert!(lines.contains("invalid_grant"), "{lines}");
    for secret in ["a-forged-code", CLIENT_SECRET, &state, cookie.split_once('=').unwrap().1] {
        assert!(!lines.contains(secret), "{secret} in {lines}");
    }
    let answer = load(
        login.port,
        &format!("/login/oidc/callback?error=access_denied&state={state}"),
        &[format!("Cookie: {cookie}").as_bytes()],
    );
    assert_eq!(answer.status(), 403);
    assert!(answer.0.contains("Example did not log you in."), "{answer:?}");
    assert!(answer.0.contains("/login/oidc?next=%2Frooms%2Fkitchen"), "the room is kept: {answer:?}");
}

#[test]
fn wrong_client_secret_is_logged_and_not_shown() {
    let port = free_port().unwrap();
    let provider = OidcProvider::start(port);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2").unwrap();
    let gateway = started(port, &provider::flags(provider.port, secret.path()));
    let login = Login { gateway, provider, port };
    let (cookie, state) = login.begin();
    let answer = login.returns(&format!("code=x&state={state}"), &cookie);
    assert_code(&answer, 503, "provider_unavailable");
    let lines = until_logged(&login.gateway, "invalid_client");
    assert!(!lines.contains("hunter2"), "{lines}");
    assert!(!answer.0.contains("invalid_client"), "{answer:?}");
}

#[test]
fn provider_that_is_away_leaves_the_login_with_a_name() {
    let port = free_port().unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), CLIENT_SECRET).unwrap();
    let mut flags = provider::flags(free_port().unwrap(), secret.path());
    flags.push("--name-login".to_owned());
    let gateway = started(port, &flags);
    for _ in 0..2 {
        let page = load(port, "/login/oidc?next=/rooms/den", &[]);
        assert_eq!(page.status(), 503, "{page:?}");
        assert!(page.header("retry-after").is_some());
        assert!(page.0.contains("Example does not answer at the moment."), "{page:?}");
        assert!(
            page.0.contains(r#"action="/login""#) && page.0.contains("/login/oidc?next=%2Frooms%2Fden"),
            "{page:?}"
        );
    }
    assert_code(&request(port, "GET /login/oidc", &[JSON], ""), 503, "provider_unavailable");
    assert_eq!(log_in(port, "ann").status(), 200);
    until_logged(&gateway, "--name-login is set although");
    until_logged(&gateway, "answering 503");
}

#[test]
fn login_with_a_name_is_off_with_a_provider() {
    let mut login = Login::start();
    let answer = log_in(login.port, "ann");
    assert_code(&answer, 403, "name_login_off");
    let page = load(login.port, "/rooms/den", &[]);
    assert!(page.0.contains("Continue with Example") && !page.0.contains(r#"action="/login""#), "{page:?}");
    // What was discovered is used while the provider is away.
    login.begin();
    login.provider.process.kill().unwrap();
    let (cookie, state) = login.begin();
    let answer = login.returns(&format!("code=x&state={state}"), &cookie);
    assert_code(&answer, 503, "provider_unavailable");
}

#[test]
fn another_site_cannot_start_a_login() {
    let login = Login::start();
    for site in ["cross-site", "same-site"] {
        let header = format!("Sec-Fetch-Site: {site}");
        let page = load(login.port, "/login/oidc?next=/rooms/den", &[header.as_bytes()]);
        assert_eq!((page.status(), page.header("set-cookie")), (200, None), "{site}");
        assert!(page.0.contains("/login/oidc?next=%2Frooms%2Fden"), "{page:?}");
    }
    for site in ["same-origin", "none"] {
        let header = format!("Sec-Fetch-Site: {site}");
        assert_eq!(load(login.port, "/login/oidc", &[header.as_bytes()]).status(), 303, "{site}");
    }
    assert_eq!(request(login.port, "POST /login/oidc", &[], "").status(), 405);
}
