//! These tests do not change the environment of the process; `tests/gateway/program.rs` tests the variables.

use super::*;

fn settings(args: &[&str]) -> GatewaySettings {
    match parse(std::iter::once(&"trunkline").chain(args)).unwrap() {
        Invocation::Serve(settings) => *settings,
        Invocation::Reference => panic!("expected serve"),
    }
}

fn refusal(args: &[&str]) -> String {
    let error = parse(std::iter::once(&"trunkline").chain(args)).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn without_command_serves_with_the_defaults_of_the_library() {
    for args in [&[][..], &["serve"]] {
        let settings = settings(args);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((settings.retain.get(), settings.retain_for.as_secs()), (1000, 7 * 24 * 3600));
        assert_eq!(
            format!("{:?}", settings.config("trunkline".into(), SecretKeys::random())),
            format!("{:?}", Config::default())
        );
        assert!(settings.keys().unwrap().is_none());
    }
}

#[test]
fn every_flag_reaches_the_configuration() {
    let settings = settings(&[
        "serve",
        "--listen",
        "localhost:0",
        "--admin-listen",
        "[::1]:9000",
        "--redis",
        "rediss-sentinel://u:hunter2@h:1/2#main",
        "--redis-ca",
        "ca.pem",
        "--redis-cert",
        "client.pem",
        "--redis-key",
        "client.key",
        "--redis-sentinel-user",
        "watcher",
        "--redis-prefix",
        "chat-2",
        "--batch-delay-max",
        "0ms",
        "--instance",
        "gw-1",
        "--workers",
        "3",
        "--log",
        "json",
        "--public-origin",
        "https://a.example",
        "--public-origin",
        "http://b.example:81",
        "--cookie-name",
        "__Host-s",
        "--session-idle",
        "90s",
        "--session-max",
        "2h",
        "--ping-interval",
        "500ms",
        "--drain-delay",
        "0s",
        "--drain-window",
        "1m",
        "--retain",
        "5",
        "--retain-for",
        "1d",
        "--send-rate",
        "0",
        "--join-rate",
        "1",
        "--login-rate",
        "0",
        "--max-sockets-per-user",
        "2",
        "--max-sockets-per-address",
        "3",
        "--max-sockets",
        "4",
        "--trust-proxy",
        "10.0.0.0/8",
        "--trust-proxy",
        "::1",
    ]);
    let config = settings.config("unused".into(), SecretKeys::random());
    assert_eq!((settings.redis.prefix.as_str(), settings.redis.batch_delay_max), ("chat-2", Duration::ZERO));
    let options = RedisOptions {
        ca_file: Some("ca.pem".into()),
        certificate_file: Some("client.pem".into()),
        key_file: Some("client.key".into()),
        sentinel_user: Some("watcher".to_owned()),
        sentinel_password: None,
    };
    assert_eq!(settings.redis.options().unwrap(), options);
    assert_eq!(config.instance, "gw-1");
    assert_eq!(config.public_origins.len(), 2);
    assert!(config.cookie.secure);
    assert_eq!(config.limits.send_rate, None);
    assert_eq!(config.limits.sockets.map(NonZeroU32::get), Some(4));
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(config.ping_interval, Duration::from_millis(500));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn invalid_settings_are_explained() {
    for (args, says) in [
        (&["--listen", "8080"][..], "an address and a port"),
        (&["--redis", "http://u:hunter2@h"], "begin with redis://"),
        (&["--redis", "redis://u:hunter2/3@h"], "%2F"),
        (&["--redis", "redis-cluster://u:hunter2@h/1"], "no databases"),
        (&["--redis", "redis-sentinel://u:hunter2@h"], "name of the master"),
        (&["--redis-ca", "ca.pem"], "--redis <URL>"),
        (&["--session-idle", "30"], "a duration such as"),
        (&["--ping-interval", "0s"], "at least 100ms"),
        (&["--session-idle", "9h"], "longer than --session-max"),
        (&["--cookie-name", "a b"], "letters, digits"),
        (&["--cookie-name", "a%62"], "letters, digits"),
        (&["--cookie-name", "__Host-s"], "over https only"),
        (&["--public-origin", "chat.example"], "an origin is"),
        (&["--public-origin", "https://chat.example/"], "without a path"),
        (&["--trust-proxy", "10.0.0.0/33"], "an address or a network"),
        (&["--instance", ""], "printable"),
        (&["--batch-delay-max", "5ms"], "at most 4ms"),
        (&["--batch-delay-max", "fast"], "a duration such as"),
        (&["--redis-prefix", "a:b"], "1 to 32 characters"),
        (&["--redis-prefix", "{a}"], "1 to 32 characters"),
        (&["--redis-prefix", ""], "1 to 32 characters"),
        (&["--workers", "0"], "workers"),
        (&["--retain", "0"], "retain"),
        (&["--log", "xml"], "possible values: text, json"),
        (&["--secret", "x"], "process lists"),
        (&["--nonsense"], "--nonsense"),
        (&["dance"], "dance"),
    ] {
        let message = refusal(args);
        assert!(message.contains(says) && !message.contains("hunter2"), "{args:?}: {message}");
    }
}

#[test]
fn redis_requires_a_key() {
    let without_key = settings(&["--redis", "redis://h"]);
    let error = without_key.keys().unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("openssl rand -hex 64"));

    let missing = settings(&["--redis", "redis://h", "--secret-file", "/nowhere/secret"]);
    assert!(missing.keys().unwrap_err().to_string().contains("/nowhere/secret"));
}

#[test]
fn password_of_the_sentinels_is_the_first_line_of_its_file() {
    let from_file = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["--redis", "redis-sentinel://h#main", "--redis-sentinel-password-file", path];
        settings(&args).redis.options()
    };
    let options = from_file("hunter2\n").unwrap();
    assert_eq!(options.sentinel_password.as_deref(), Some("hunter2"));
    assert!(!format!("{options:?}").contains("hunter2"));
    let error = from_file("\n").unwrap_err();
    assert!(error.contains("--redis-sentinel-password-file") && error.contains("first line"), "{error}");
}

#[test]
fn each_key_is_a_line_of_at_least_64_bytes() {
    let from_file = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let keys = settings(&["--secret-file", file.path().to_str().unwrap()]).keys();
        keys.map(|keys| keys.is_some()).map_err(|error| error.to_string())
    };
    let long = "a".repeat(64);
    assert_eq!(from_file(&format!("\n {long} \n\n{long}b\r\n")), Ok(true));
    for (text, says) in
        [(" \n", "required"), ("hunter2", "at least 64 bytes"), (&format!("{long}\nhunter2"), "64 bytes")]
    {
        let error = from_file(text).unwrap_err();
        assert!(error.contains(says) && error.contains("openssl") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn unusable_secret_files_are_explained() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let refusal = |path: &std::path::Path| {
        let error = settings(&["--secret-file", path.to_str().unwrap()]).keys().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        message
    };
    assert!(refusal(&path).contains("must be able to read it"));
    assert!(refusal(folder.path()).contains("directory"));
    for (bytes, says) in [
        (&[0xff, 0xfe, b'a', 0][..], "UTF-8"),
        (&[&b"\xef\xbb\xbf"[..], &[b'a'; 64]].concat(), "UTF-8"),
        (&[0; 100], "UTF-8"),
        (&[b'a'; 70_000], "larger than"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(refusal(&path).contains(says), "{says}");
    }
    std::fs::write(&path, "a".repeat(64)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refusal(&path).contains("chmod o-w"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    assert!(settings(&["--secret-file", path.to_str().unwrap()]).keys().unwrap().is_some());
}

#[test]
fn config_document_is_current() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIG.md");
    let document = std::fs::read_to_string(file).unwrap();
    let written = reference::markdown(&CommandLine::command());
    assert!(document == written, "docs/CONFIG.md is outdated: its first comment names the command that generates it");
}

#[test]
fn tokens_and_providers_turn_the_login_with_a_name_off_unless_it_is_asked_for() {
    let url = ["--jwt-jwks-url", "https://id.example/jwks"];
    for (args, expected) in [
        (&[][..], true),
        (&url[..], false),
        (&["--jwt-key-file", "keys"], false),
        (&["--jwt-key-file", "keys", "--name-login"], true),
        (&["--oidc-issuer", "https://id.example"], false),
        (&["--oidc-issuer", "https://id.example", "--name-login"], true),
        (&["--name-login"], true),
    ] {
        assert_eq!(settings(args).config("a".into(), SecretKeys::random()).name_login, expected, "{args:?}");
    }
}

#[test]
fn invalid_settings_of_tokens_are_refused() {
    for args in [&["--jwt-issuer", "a"][..], &["--jwt-audience", "a"]] {
        assert!(refusal(args).contains("set --jwt-key-file or --jwt-jwks-url"), "{args:?}");
    }
    assert!(refusal(&["--jwt-jwks-url", "file:///keys"]).contains("https://"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let load = || settings(&["--jwt-key-file", file.to_str().unwrap()]).tokens.load();
    assert!(load().unwrap_err().contains("No such file"));
    std::fs::write(&file, "{\n\"keys\":[}").unwrap();
    let error = load().unwrap_err();
    assert!(error.contains("--jwt-key-file") && error.contains("line 2: not a JWKS document"), "{error}");
    std::fs::write(&file, [0xff; 32]).unwrap();
    assert!(load().unwrap().is_some_and(|tokens| tokens.keys.is_some()));
}

#[test]
fn invalid_settings_of_a_provider_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap();
    let load = |args: &[&str]| settings(args).oidc.load();
    let all = |issuer: &str| load(&["--oidc-issuer", issuer, "--oidc-client-id", "chat", "--oidc-secret-file", path]);
    assert_eq!(load(&[]), Ok(None));
    for args in [
        &["--oidc-issuer", "https://id.example"][..],
        &["--oidc-client-id", "chat"],
        &["--oidc-secret-file", "secret"],
        &["--oidc-name", "Example"],
        &["--oidc-issuer", "https://id.example", "--oidc-client-id", "chat"],
    ] {
        assert!(load(args).unwrap_err().contains("set all three"), "{args:?}");
    }
    assert!(all("https://id.example").unwrap_err().contains("No such file"));
    std::fs::write(&file, "\n").unwrap();
    let error = all("https://id.example").unwrap_err();
    assert!(error.contains(path) && error.contains("client secret"), "{error}");
    std::fs::write(&file, "hunter2\n").unwrap();
    for (issuer, says) in [("http://id.example", "must be https"), ("id.example", "is a URL"), ("", "is a URL")] {
        let error = all(issuer).unwrap_err();
        assert!(error.starts_with("--oidc-issuer") && error.contains(says) && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(all("https://id.example:8443").unwrap().unwrap().name(), "id.example");
}
