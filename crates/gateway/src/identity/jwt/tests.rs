//! Tables of tokens and key files. `vectors.json` has keys and tokens that the openssl command made.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};
use trunkline_domain::Permission;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_900_000_000;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header and these claims, signed with HMAC-SHA-256 and this secret.
fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn token(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

/// Claims that are valid, with the members of `other` added or, where they are null, removed.
fn claims(other: Value) -> Value {
    let mut claims = json!({"sub": "u-17", "exp": NOW + 3600});
    let Value::Object(other) = other else { panic!("{other}") };
    for (name, value) in other {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(&name)
        } else {
            claims[&name] = value;
            None
        };
    }
    claims
}

fn secret() -> KeySet {
    KeySet::from_file(SECRET).unwrap()
}

fn jwks(document: &Value) -> KeySet {
    KeySet::from_file(document.to_string().as_bytes()).unwrap()
}

fn verify_with(rules: &TokenRules, keys: &KeySet, token: &str) -> Result<Identity, BadToken> {
    rules.verify(token, [keys].into_iter(), at(NOW))
}

fn verify(token: &str) -> Result<Identity, BadToken> {
    verify_with(&TokenRules::default(), &secret(), token)
}

#[test]
fn token_of_every_algorithm_is_verified_by_the_key_of_its_type_alone() {
    let vectors = vectors();
    let set = jwks(&vectors["jwks"]);
    let key_of = |algorithm: &str| match &algorithm[..2] {
        "RS" | "PS" => "RSA",
        "ES" if algorithm == "ES256" => "P-256",
        "ES" => "P-384",
        _ => "Ed25519",
    };
    for (algorithm, token) in vectors["tokens"].as_object().unwrap() {
        let token = token.as_str().unwrap();
        let identity = verify_with(&TokenRules::default(), &set, token).unwrap_or_else(|e| panic!("{algorithm}: {e}"));
        assert_eq!(identity.user().as_str(), "u-17");
        assert_eq!(identity.name().unwrap().as_str(), "Ann");
        assert_eq!(identity.expires(), Some(at(2_000_000_000)));
        for (name, pem) in vectors["pem"].as_object().unwrap() {
            let keys = KeySet::from_file(pem.as_str().unwrap().as_bytes()).unwrap();
            let expected = if name.starts_with(key_of(algorithm)) { Ok(()) } else { Err(BadToken::NoFittingKey) };
            assert_eq!(verify_with(&TokenRules::default(), &keys, token).map(|_| ()), expected, "{algorithm}, {name}");
        }
        assert_eq!(verify(token), Err(BadToken::NoFittingKey), "{algorithm} with a secret");
    }
}

#[test]
fn changed_token_is_refused() {
    let vectors = vectors();
    let set = jwks(&vectors["jwks"]);
    for (algorithm, token) in vectors["tokens"].as_object().unwrap() {
        let mut parts: Vec<&str> = token.as_str().unwrap().split('.').collect();
        let other = part(&json!({"sub": "root", "exp": 2_000_000_000}));
        parts[1] = &other;
        assert_eq!(
            verify_with(&TokenRules::default(), &set, &parts.join(".")),
            Err(BadToken::Signature),
            "{algorithm}"
        );
    }
}

#[test]
fn public_key_does_not_serve_as_a_secret() {
    let vectors = vectors();
    for (name, pem) in vectors["pem"].as_object().unwrap() {
        let pem = pem.as_str().unwrap();
        let keys = KeySet::from_file(pem.as_bytes()).unwrap();
        for secret in [pem, pem.trim_end()] {
            let forged = signed(&json!({"alg": "HS256"}), &claims(json!({})), secret.as_bytes());
            assert_eq!(verify_with(&TokenRules::default(), &keys, &forged), Err(BadToken::NoFittingKey), "{name}");
        }
    }
    // A document that is not at the very beginning of the file is public nevertheless.
    let document = format!("\n {}", vectors["jwks"]);
    let keys = KeySet::from_file(document.as_bytes()).unwrap();
    let forged = signed(&json!({"alg": "HS256"}), &claims(json!({})), document.as_bytes());
    assert_eq!(verify_with(&TokenRules::default(), &keys, &forged), Err(BadToken::NoFittingKey));
}

#[test]
fn invalid_headers_and_forms_are_refused() {
    let valid = token(&claims(json!({})));
    let (message, signature) = valid.rsplit_once('.').unwrap();
    let with_header = |header: Value| signed(&header, &claims(json!({})), SECRET);
    for (token, expected) in [
        (String::new(), BadToken::Malformed),
        ("a".to_owned(), BadToken::Malformed),
        ("a.b".to_owned(), BadToken::Malformed),
        ("....".to_owned(), BadToken::Malformed),
        ("{}.{}.x".to_owned(), BadToken::Malformed),
        (format!("{valid}.x"), BadToken::Malformed),
        (format!("{valid}="), BadToken::Malformed),
        (format!(" {valid}"), BadToken::Malformed),
        ("x".repeat(MAX_TOKEN_BYTES + 1), BadToken::TooLong(MAX_TOKEN_BYTES + 1)),
        ("..".to_owned(), BadToken::Header),
        (with_header(json!([])), BadToken::Header),
        (with_header(json!({"typ": "JWT"})), BadToken::Header),
        (with_header(json!({"alg": "none"})), BadToken::Header),
        (with_header(json!({"alg": "None"})), BadToken::Header),
        (with_header(json!({"alg": "HS1"})), BadToken::Header),
        (with_header(json!({"alg": null})), BadToken::Header),
        (with_header(json!({"alg": "HS256", "kid": 7})), BadToken::Header),
        (with_header(json!({"alg": "HS256", "crit": ["b64"], "b64": false})), BadToken::CriticalExtension),
        (with_header(json!({"alg": "HS384"})), BadToken::Signature),
        (with_header(json!({"alg": "RS256"})), BadToken::NoFittingKey),
        (format!("{message}."), BadToken::Signature),
        (format!("{message}.{}", signature.to_lowercase().replace(['_', '-'], "a")), BadToken::Signature),
        (
            signed(&json!({"alg": "HS256"}), &claims(json!({})), b"another secret of the same length"),
            BadToken::Signature,
        ),
        (format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims(json!({})))), BadToken::Header),
    ] {
        assert_eq!(verify(&token), Err(expected), "{token}");
    }
    assert!(verify(&valid).is_ok());
}

#[test]
fn invalid_claims_are_refused() {
    let rules = TokenRules { issuer: Some("https://id".to_owned()), audience: Some("chat".to_owned()) };
    let valid = json!({"iss": "https://id", "aud": "chat"});
    let with = |other: Value| {
        let mut all = valid.clone();
        all.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        verify_with(&rules, &secret(), &token(&claims(all)))
    };
    for (other, expected) in [
        (json!({}), Ok(())),
        (json!({"aud": ["web", "chat"]}), Ok(())),
        (json!({"exp": NOW - 59}), Ok(())),
        (json!({"exp": NOW as f64 + 0.5}), Ok(())),
        (json!({"exp": 1e300}), Ok(())),
        (json!({"nbf": NOW + 60}), Ok(())),
        (json!({"name": ""}), Ok(())),
        (json!({"name": 7}), Ok(())),
        (json!({"exp": NOW - 60}), Err(BadToken::Expired(60))),
        (json!({"exp": 0}), Err(BadToken::Expired(NOW))),
        (json!({"nbf": NOW + 61}), Err(BadToken::NotYetValid(61))),
        (json!({"iss": "https://evil"}), Err(BadToken::Issuer)),
        (json!({"iss": null}), Err(BadToken::Issuer)),
        (json!({"aud": "other"}), Err(BadToken::Audience)),
        (json!({"aud": []}), Err(BadToken::Audience)),
        (json!({"aud": null}), Err(BadToken::Audience)),
        (json!({"aud": {}}), Err(BadToken::Claims)),
        (json!({"exp": null}), Err(BadToken::Claims)),
        (json!({"exp": "tomorrow"}), Err(BadToken::Claims)),
        (json!({"exp": -1}), Err(BadToken::Claims)),
        (json!({"sub": null}), Err(BadToken::Claims)),
        (json!({"sub": 17}), Err(BadToken::Claims)),
        (json!({"sub": ""}), Err(BadToken::Claims)),
        (json!({"sub": "two words"}), Err(BadToken::Claims)),
        (json!({"sub": "x".repeat(129)}), Err(BadToken::Claims)),
        (json!({"rooms": "lobby"}), Err(BadToken::Claims)),
        (json!({"rooms": [{"room": "Lobby", "can": ["join"]}]}), Err(BadToken::Claims)),
        (json!({"rooms": [{"room": "lobby"}]}), Err(BadToken::Claims)),
    ] {
        assert_eq!(with(other.clone()).map(|_| ()), expected, "{other}");
    }
    let null_rooms = json!({"sub": "u", "exp": NOW, "iss": "https://id", "aud": "chat", "rooms": null});
    assert_eq!(verify_with(&rules, &secret(), &token(&null_rooms)), Err(BadToken::Claims));
    assert_eq!(verify(&token(&json!([]))), Err(BadToken::Claims));
    assert_eq!(verify(&token(&claims(json!({"aud": "chat"})))), Err(BadToken::UnexpectedAudience));
}

#[test]
fn rooms_become_grants() {
    let rooms = json!([{"room": "orders.*", "can": ["join", "read", "fly"]}, {"room": "lobby", "can": ["send"]}]);
    let identity = verify(&token(&claims(json!({"rooms": rooms})))).unwrap();
    let (order, lobby) = ("orders.42".parse().unwrap(), "lobby".parse().unwrap());
    assert!(identity.is_granted(Permission::Join, &order));
    assert!(!identity.is_granted(Permission::Send, &order));
    assert!(identity.is_granted(Permission::Send, &lobby));
    assert!(!identity.is_granted(Permission::Join, &lobby));
    let nothing = verify(&token(&claims(json!({"rooms": []})))).unwrap();
    assert!(!nothing.is_granted(Permission::Join, &lobby));
}

fn secret_jwk(id: Option<&str>, secret: &[u8]) -> Value {
    let mut jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret)});
    if let Some(id) = id {
        jwk["kid"] = json!(id);
    }
    jwk
}

#[test]
fn key_id_selects_the_key() {
    let other = b"fedcba9876543210fedcba9876543210";
    let set = jwks(&json!({"keys": [secret_jwk(Some("a"), SECRET), secret_jwk(Some("b"), other)]}));
    let of = |kid: Value, secret: &[u8]| {
        let mut header = json!({"alg": "HS256"});
        if !kid.is_null() {
            header["kid"] = kid;
        }
        verify_with(&TokenRules::default(), &set, &signed(&header, &claims(json!({})), secret)).map(|_| ())
    };
    assert_eq!(of(json!("a"), SECRET), Ok(()));
    assert_eq!(of(json!("b"), other), Ok(()));
    assert_eq!(of(json!("a"), other), Err(BadToken::Signature));
    assert_eq!(of(json!("c"), SECRET), Err(BadToken::UnknownKey));
    assert_eq!(of(json!(null), SECRET), Ok(()));
    assert_eq!(of(json!(null), other), Ok(()));
    // A key without an id fits every token.
    let header = json!({"alg": "HS256", "kid": "whatever"});
    assert!(verify(&signed(&header, &claims(json!({})), SECRET)).is_ok());
    let forged = signed(&header, &claims(json!({})), other);
    assert_eq!(verify(&forged), Err(BadToken::UnknownKey), "newer keys could verify it");
}

#[test]
fn algorithm_of_a_jwk_is_the_only_one_allowed() {
    let mut jwk = secret_jwk(None, SECRET);
    jwk["alg"] = json!("HS512");
    let set = jwks(&json!({"keys": [jwk]}));
    let result = verify_with(&TokenRules::default(), &set, &token(&claims(json!({}))));
    assert_eq!(result, Err(BadToken::NoFittingKey));
}

#[test]
fn unreadable_key_files_are_refused_with_their_line() {
    let vectors = vectors();
    let weak = vectors["refused_pem"]["RSA of 1024 bits"].as_str().unwrap();
    let curve = vectors["refused_pem"]["P-521"].as_str().unwrap();
    let certificate = vectors["refused_pem"]["certificate"].as_str().unwrap();
    let rsa = vectors["pem"]["RSA"].as_str().unwrap();
    let short = json!({"keys": [secret_jwk(None, b"short")]}).to_string();
    for (file, line, reason) in [
        (String::new(), 1, "an HMAC secret of 0 bytes"),
        ("0123456789abcdef0123456789abcde\n".to_owned(), 1, "an HMAC secret of 31 bytes"),
        ("{".to_owned(), 1, "not a JWKS document"),
        ("{\n\"keys\": [\n}".to_owned(), 3, "not a JWKS document"),
        ("{}".to_owned(), 1, "not a JWKS document"),
        ("{\"keys\":[]}".to_owned(), 1, "without keys"),
        ("{\"keys\":[\n\n  {\"kty\":\"EC\"}]}".to_owned(), 3, "no usable key: its type is not supported"),
        ("{\"keys\":[\n{\"kty\":\"quantum\"}]}".to_owned(), 2, "its type is not supported"),
        (short, 1, "a secret must have at least 32 bytes"),
        (format!("{{\"keys\":[{}]}}", vec!["{}"; 33].join(",")), 1, "more than 32 keys"),
        (weak.to_owned(), 1, "not a public key of a supported type"),
        (curve.to_owned(), 1, "not a public key of a supported type"),
        (format!("{rsa}\n# old\n{weak}"), rsa.lines().count() + 3, "not a public key of a supported type"),
        (certificate.to_owned(), 1, "expected -----BEGIN PUBLIC KEY-----"),
        ("comment\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----".to_owned(), 2, "a private key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n".to_owned(), 1, "no matching END line"),
        (
            "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----".to_owned(),
            1,
            "not a public key of a supported type",
        ),
    ] {
        let error = KeySet::from_file(file.as_bytes()).expect_err(&file);
        assert_eq!(error.line, line, "{error}\n{file}");
        assert!(error.reason.contains(reason), "{error}\n{file}");
    }
    assert!(KeySet::from_file(b"{\"keys\":[\xff]}").is_err());
}

#[test]
fn key_file_may_contain_several_keys_and_a_secret_may_be_binary() {
    let vectors = vectors();
    let pem: String = vectors["pem"].as_object().unwrap().values().map(|pem| pem.as_str().unwrap()).collect();
    assert_eq!(KeySet::from_file(pem.as_bytes()).unwrap().len(), 5);
    for line_end in ["", "\n", "\r\n"] {
        let secret: Vec<u8> = [&[0xff; 32], line_end.as_bytes()].concat();
        let keys = KeySet::from_file(&secret).unwrap();
        let token = signed(&json!({"alg": "HS256"}), &claims(json!({})), &[0xff; 32]);
        assert!(verify_with(&TokenRules::default(), &keys, &token).is_ok(), "{line_end:?}");
    }
}

#[test]
fn unusable_keys_of_a_set_are_skipped() {
    let mut document = vectors()["jwks"].clone();
    let keys = document["keys"].as_array_mut().unwrap();
    let mut encryption = keys[0].clone();
    encryption["use"] = json!("enc");
    let mut other_algorithm = keys[1].clone();
    other_algorithm["alg"] = json!("RS256");
    keys.extend([encryption, other_algorithm, json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), json!(7)]);
    keys.push(secret_jwk(Some("published"), SECRET));
    let text = document.to_string();
    let set = KeySet::from_jwks(text.as_bytes(), KeySource::File).unwrap();
    assert_eq!((set.len(), set.skipped().len()), (5, 4));
    let set = KeySet::from_jwks(text.as_bytes(), KeySource::Url).unwrap();
    assert_eq!((set.len(), set.skipped().len()), (4, 5), "everyone can read a secret at a URL");
    let withdrawn = KeySet::from_jwks(b"{\"keys\":[]}", KeySource::Url).unwrap();
    assert_eq!(withdrawn.len(), 0);
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", jwks(&json!({"keys": [secret_jwk(Some("a"), SECRET)]})));
    assert!(!text.contains("0123") && !text.contains("48, 49"), "{text}");
}

proptest! {
    #[test]
    fn arbitrary_tokens_do_not_panic(token in "[ -~]{0,200}") {
        let _ = verify(&token);
    }

    #[test]
    fn arbitrary_parts_do_not_panic(
        header in prop_oneof![Just(b"{\"alg\":\"HS256\"}".to_vec()), any::<Vec<u8>>(), "[{}\\[\\]\":a-z0-9,]{0,40}".prop_map(String::into_bytes)],
        claims in prop_oneof![any::<Vec<u8>>(), "\\{\"sub\":\"[a-z]{0,3}\",\"exp\":-?[0-9]{0,40}(e[0-9]{1,4})?\\}".prop_map(String::into_bytes)],
    ) {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
        let _ = verify(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)));
    }

    #[test]
    fn arbitrary_key_files_do_not_panic(
        file in prop_oneof![
            any::<Vec<u8>>(),
            "\\{\"keys\":\\[[{}\":a-z,]{0,60}\\]\\}".prop_map(String::into_bytes),
            "-----BEGIN (RSA )?PUBLIC KEY-----\n[A-Za-z0-9+/=\n]{0,200}\n-----END (RSA )?PUBLIC KEY-----".prop_map(String::into_bytes),
        ],
    ) {
        let _ = KeySet::from_file(&file);
    }
}
