//! What `--redis` takes, and what it refuses.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> RedisUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> InvalidRedisUrl {
    text.parse::<RedisUrl>().expect_err(text)
}

fn tcp(host: &str, port: u16) -> Topology {
    Topology::Server(Endpoint::Tcp(NodeAddress::new(host, port)))
}

fn nodes(nodes: &[(&str, u16)]) -> Vec<NodeAddress> {
    nodes.iter().map(|(host, port)| NodeAddress::new(*host, *port)).collect()
}

#[test]
fn one_server() {
    let url = parse("redis://redis.example");
    assert_eq!((url.topology(), url.uses_tls(), url.database()), (&tcp("redis.example", 6379), false, 0));
    let url = parse("rediss://user:secret@10.0.0.1:7000/12");
    assert_eq!((url.topology(), url.uses_tls(), url.database()), (&tcp("10.0.0.1", 7000), true, 12));
    assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("user"), Some("secret")));
    assert_eq!(parse("redis://[2001:db8::1]:7000/").topology, tcp("2001:db8::1", 7000));
    assert_eq!(parse("redis://[::1]").topology, tcp("::1", 6379));
    assert_eq!(parse("REDIS://redis_1.example-a/0").topology, tcp("redis_1.example-a", 6379));
}

#[test]
fn unix_socket() {
    let url = parse("unix:///run/redis.sock");
    assert_eq!((url.topology(), url.database()), (&Topology::Server(Endpoint::Unix("/run/redis.sock".into())), 0));
    let url = parse("unix://user:p%2Fw@/run/a%20b/redis.sock?db=3");
    assert_eq!(url.topology, Topology::Server(Endpoint::Unix("/run/a b/redis.sock".into())));
    assert_eq!((url.user.as_deref(), url.password.as_deref(), url.database), (Some("user"), Some("p/w"), 3));
}

#[test]
fn sentinels() {
    let url = parse("redis-sentinel://user:secret@s1,s2:7001,[::1]:7002/2#mymaster");
    let sentinels = nodes(&[("s1", 26379), ("s2", 7001), ("::1", 7002)]);
    assert_eq!(url.topology, Topology::Sentinel { sentinels, master: "mymaster".to_owned() });
    assert_eq!((url.password.as_deref(), url.database, url.tls), (Some("secret"), 2, false));
    let url = parse("rediss-sentinel://s1#a");
    assert_eq!(url.topology, Topology::Sentinel { sentinels: nodes(&[("s1", 26379)]), master: "a".to_owned() });
    assert!(url.tls);
}

#[test]
fn cluster() {
    let url = parse("redis-cluster://:secret@n1,n2:7001/");
    assert_eq!(url.topology, Topology::Cluster { seeds: nodes(&[("n1", 6379), ("n2", 7001)]) });
    assert_eq!((url.user.as_deref(), url.password.as_deref()), (None, Some("secret")));
    assert!(parse("rediss-cluster://n1").tls);
}

#[test]
fn passwords_with_special_characters_are_percent_encoded() {
    let url = parse("redis://us%3Aer:p%40s%3Aw%2Fo%23r%25d%C3%A4@redis.example");
    assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("us:er"), Some("p@s:w/o#r%dä")));
    assert_eq!(parse("redis://:a@b:c@host").password.as_deref(), Some("a@b:c"), "the last @ ends the password");
    assert_eq!(parse("redis://nopass:@host").password.as_deref(), Some(""));
    assert_eq!(parse("redis://:@host").password, None);
}

#[test]
fn refusals_say_what_is_wrong() {
    let table = [
        ("", InvalidRedisUrl::Scheme),
        ("127.0.0.1:6379", InvalidRedisUrl::Scheme),
        ("http://host", InvalidRedisUrl::Scheme),
        ("redis://", InvalidRedisUrl::Host),
        ("redis://:secret@", InvalidRedisUrl::Host),
        ("redis://local host", InvalidRedisUrl::Host),
        ("redis://[::1", InvalidRedisUrl::Host),
        ("redis://[host]", InvalidRedisUrl::Host),
        ("redis://::1", InvalidRedisUrl::Host),
        ("redis-cluster://n1,,n2", InvalidRedisUrl::Host),
        ("redis://[::]", InvalidRedisUrl::Wildcard),
        ("redis://0.0.0.0:6379", InvalidRedisUrl::Wildcard),
        ("redis://host:", InvalidRedisUrl::Port),
        ("redis://host:0", InvalidRedisUrl::Port),
        ("redis://host:65536", InvalidRedisUrl::Port),
        ("redis://host:+1", InvalidRedisUrl::Port),
        ("redis://[::1]7000", InvalidRedisUrl::Port),
        ("redis://:sec/ret@host", InvalidRedisUrl::Host),
        ("redis://user:12/34@host", InvalidRedisUrl::Database),
        ("redis://:sec#ret@host", InvalidRedisUrl::Fragment),
        ("redis://host#insecure", InvalidRedisUrl::Fragment),
        ("redis://h1,h2", InvalidRedisUrl::SeveralHosts),
        ("redis://secret@host", InvalidRedisUrl::UserWithoutPassword),
        ("redis://:100%@host", InvalidRedisUrl::PercentEncoding),
        ("redis://:%ff@host", InvalidRedisUrl::PercentEncoding),
        ("redis://host/x", InvalidRedisUrl::Database),
        ("redis://host/-1", InvalidRedisUrl::Database),
        ("redis://host/0/", InvalidRedisUrl::Database),
        ("redis-cluster://host/0", InvalidRedisUrl::ClusterDatabase),
        ("rediss-cluster://host/1", InvalidRedisUrl::ClusterDatabase),
        ("redis://host?protocol=resp3", InvalidRedisUrl::Parameters),
        ("unix:///run/redis.sock?pass=secret", InvalidRedisUrl::Parameters),
        ("unix:///run/redis.sock?db=", InvalidRedisUrl::Database),
        ("unix://run/redis.sock", InvalidRedisUrl::SocketPath),
        ("unix://", InvalidRedisUrl::SocketPath),
        ("redis-sentinel://host", InvalidRedisUrl::MasterName),
        ("redis-sentinel://host#", InvalidRedisUrl::MasterName),
        ("redis-sentinel://host#my%20master", InvalidRedisUrl::MasterName),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn debug_output_omits_the_password() {
    let shown = format!("{:?}", parse("redis://user:hunter2@host/1"));
    assert!(shown.contains("user") && shown.contains("host") && !shown.contains("hunter2"), "{shown}");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        let _ = text.parse::<RedisUrl>();
    }

    #[test]
    fn no_text_after_a_scheme_makes_the_parser_panic(
        scheme in prop::sample::select(vec!["redis", "unix", "rediss-sentinel", "redis-cluster"]),
        rest in r"[a-z0-9%@:/#?,.\[\]=é-]{0,30}",
    ) {
        let _ = format!("{scheme}://{rest}").parse::<RedisUrl>();
    }

    #[test]
    fn encoded_passwords_are_recovered(password in ".+", user in ".*") {
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let url = parse(&format!("redis://{}:{}@host", encode(&user), encode(&password)));
        prop_assert_eq!(url.password, Some(password));
        prop_assert_eq!(url.user.unwrap_or_default(), user);
    }
}
