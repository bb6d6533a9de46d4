//! TLS with certificates of the testbed.

use std::{fs, path::Path, time::Duration};

use trunkline_redis::{Connector, InvalidRedisSettings, RedisOptions, SubscriberReply, TlsFile};
use trunkline_testbed::{Redis, ServerCertificate, TlsFiles};

use crate::{connector, failure};

fn trusting(ca: impl AsRef<Path>) -> RedisOptions {
    RedisOptions { ca_file: Some(ca.as_ref().to_owned()), ..RedisOptions::default() }
}

#[tokio::test]
async fn names_and_addresses_of_a_certificate_are_accepted() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().tls(&tls).start().unwrap();
    for host in ["localhost", "127.0.0.1"] {
        let connector = connector(&format!("rediss://{host}:{}", redis.port()), &trusting(tls.ca()));
        let opened = connector.open().await.unwrap();
        let reply: String = redis::cmd("PING").query_async(&mut opened.connection.clone()).await.unwrap();
        assert_eq!(reply, "PONG");
        let mut subscriber = connector.open_subscriber(None).await.unwrap();
        subscriber.write(&redis::cmd("SUBSCRIBE").arg("channel").get_packed_command()).await.unwrap();
        assert!(matches!(subscriber.next().await.unwrap(), SubscriberReply::Subscribed(_)));
    }
}

#[tokio::test]
async fn bad_certificates_are_named_and_never_connected_to() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().tls(&tls).start().unwrap();
    for (certificate, says) in [
        (ServerCertificate::WrongCa, "unknown CA"),
        (ServerCertificate::WrongName, "not valid for the name 127.0.0.1"),
        (ServerCertificate::Expired, "has expired"),
    ] {
        redis.present(&tls, certificate).unwrap();
        let text = failure(&redis.url(), &trusting(tls.ca())).await;
        assert!(text.starts_with("TLS handshake with 127.0.0.1:") && text.contains(says), "{text}");
    }
    redis.present(&tls, ServerCertificate::Valid).unwrap();
    let text = failure(&redis.url(), &trusting(tls.other_ca())).await;
    assert!(text.contains("unknown CA"), "{text}");
}

#[tokio::test]
async fn roots_of_the_system_do_not_vouch_for_an_unknown_ca() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().tls(&tls).start().unwrap();
    match Connector::new(&redis.url().parse().unwrap(), &RedisOptions::default(), Duration::from_secs(2)) {
        Ok(connector) => {
            let text = connector.open().await.unwrap_err().to_string();
            assert!(text.contains("unknown CA"), "{text}");
        }
        // A machine without root certificates.
        Err(error) => assert!(matches!(error, InvalidRedisSettings::SystemRoots(_)), "{error}"),
    }
}

#[tokio::test]
async fn client_certificate_is_shown_where_it_is_required() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().mutual_tls(&tls).start().unwrap();
    let text = failure(&redis.url(), &trusting(tls.ca())).await;
    assert!(text.contains("requires a client certificate"), "{text}");
    let (certificate, key) = tls.client();
    let options = RedisOptions { certificate_file: Some(certificate), key_file: Some(key), ..trusting(tls.ca()) };
    connector(&redis.url(), &options).open().await.unwrap();
}

#[tokio::test]
async fn server_without_tls_is_named() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().start().unwrap();
    let text = failure(&format!("rediss://127.0.0.1:{}", redis.port()), &trusting(tls.ca())).await;
    assert!(text.starts_with("TLS handshake with") && text.contains("use a URL without TLS"), "{text}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (tls, other) = (TlsFiles::create().unwrap(), TlsFiles::create().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let text = write("text", "hunter2");
    let cut = write("cut", "-----BEGIN CERTIFICATE-----\nhunter2");
    let not_der = write("not-der", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let client = |certificate: &Path, key: &Path| RedisOptions {
        certificate_file: Some(certificate.to_owned()),
        key_file: Some(key.to_owned()),
        ..trusting(tls.ca())
    };
    let (certificate, key) = tls.client();
    let table = [
        (trusting(folder.path().join("missing")), TlsFile::Ca, "No such file"),
        (trusting(&text), TlsFile::Ca, "no certificate in PEM format"),
        (trusting(&cut), TlsFile::Ca, "cut off"),
        (trusting(&not_der), TlsFile::Ca, "not valid"),
        (client(&text, &key), TlsFile::Certificate, "no certificate"),
        (client(&certificate, &text), TlsFile::Key, "no private key"),
        (client(&certificate, &other.client().1), TlsFile::Key, "not usable with the certificate"),
    ];
    for (options, expected, says) in table {
        let url = "rediss://h".parse().unwrap();
        let error = Connector::new(&url, &options, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(&error, InvalidRedisSettings::File { file, .. } if *file == expected), "{error:?}");
        assert!(error.to_string().contains(says) && !error.to_string().contains("hunter2"), "{error}");
    }
}
