//! Requests that a foreign page, a careless proxy or a scanner could make.

use std::time::Duration;

use super::{
    http::{CLOSED, exchange},
    logins::exchange_login,
    target::{AttackOutcome, AttackTarget, Observation, handshake, status_name},
};

/// Longest time for the answer to a request that a server may leave unanswered.
const SHORT_LIMIT: Duration = Duration::from_secs(2);

const FOREIGN_ORIGINS: [&str; 4] =
    ["https://evil.example", "null", "http://localhost.evil.example", "file:///etc/passwd"];

pub(super) async fn foreign_origin(target: &AttackTarget) -> AttackOutcome {
    let cookie = target.cookie_line();
    let mut requests: Vec<_> = FOREIGN_ORIGINS
        .iter()
        .map(|origin| (*origin, target.handshake(&format!("{cookie}Origin: {origin}\r\n"))))
        .collect();
    let own = format!("http://{}", target.site.authority());
    let duplicate = format!("{cookie}Origin: {own}\r\nOrigin: https://evil.example\r\n");
    requests.push(("two origins", target.handshake(&duplicate)));
    let suffix = format!("{cookie}Origin: {own}.evil.example\r\n");
    requests.push(("own host as a prefix", target.handshake(&suffix)));
    target.expect_statuses(requests, &[403]).await
}

pub(super) async fn cross_site_post(target: &AttackTarget) -> AttackOutcome {
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let fields = FOREIGN_ORIGINS.map(|origin| format!("Origin: {origin}")).into_iter();
    let fields = fields.chain(["cross-site", "same-site"].map(|site| format!("Sec-Fetch-Site: {site}")));
    let mut requests = Vec::new();
    for field in fields {
        let headers = format!("{form}{}{field}\r\n", target.cookie_line());
        requests.push(("POST /login", target.request("POST", "/login", &headers, "name=eve")));
        requests.push(("POST /logout", target.request("POST", "/logout", &headers, "")));
    }
    target.expect_statuses(requests, &[403]).await
}

pub(super) async fn forged_host(target: &AttackTarget) -> AttackOutcome {
    let forged = |headers: &str| {
        format!("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{headers}\r\n").into_bytes()
    };
    let answer = target.exchange(&forged("X-Forwarded-Host: evil.example\r\n")).await?;
    // The policy may name the socket endpoint of the host that the request named; it binds only that response.
    let names_host = ["location", "set-cookie", "link", "refresh"]
        .iter()
        .find(|name| answer.headers(name).any(|value| value.contains("evil.example")));
    if let Some(name) = names_host {
        return Ok(Observation::new(false, format!("the header {name} names the forged host")));
    }
    let two = b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\nConnection: close\r\n\r\n".to_vec();
    let none = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec();
    let empty = handshake("", &target.cookie_line());
    let own = format!("{}Origin: http://{}\r\n", target.cookie_line(), target.site.authority());
    let mismatch = handshake("evil.example", &own);
    let mut outcome =
        target.expect_statuses(vec![("two hosts", two), ("no host", none), ("empty host", empty)], &[400]).await?;
    let origin = target.expect_statuses(vec![("other host than Origin", mismatch)], &[403, 101]).await?;
    outcome.seen = format!(
        "forged Host: {} without its name; {}; Origin for another Host: {}",
        answer.status, outcome.seen, origin.seen
    );
    Ok(outcome)
}

pub(super) async fn request_smuggling(target: &AttackTarget) -> AttackOutcome {
    let host = target.site.authority();
    let inner = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX-Smuggled: 1\r\n\r\n");
    let head = |lines: &str| format!("POST /logout HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let cases = [
        ("CL and TE", format!("{}0\r\n\r\n{inner}", head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"))),
        ("TE and CL", format!("{}0\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\nContent-Length: 500\r\n"))),
        ("two CL", format!("{}{inner}", head("Content-Length: 0\r\nContent-Length: 60\r\n"))),
        ("CL list", format!("{}{inner}", head("Content-Length: 0, 60\r\n"))),
        ("CL with sign", format!("{}{inner}", head("Content-Length: +0\r\n"))),
        ("obscured TE", format!("{}0\r\n\r\n{inner}", head("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n"))),
        (
            "two TE",
            format!("{}0\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")),
        ),
        ("space before colon", format!("{}{inner}", head("Content-Length : 60\r\n"))),
        ("invalid chunk size", format!("{}zz\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\n"))),
        ("negative chunk size", format!("{}-1\r\n\r\n{inner}", head("Transfer-Encoding: chunked\r\n"))),
        (
            "folded header",
            format!("{}0\r\n\r\n{inner}", head("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        ),
    ];
    let (count, mut split, mut statuses) = (cases.len(), Vec::new(), Vec::new());
    for (name, request) in cases {
        let answer = exchange(&target.site, request.as_bytes(), SHORT_LIMIT).await?;
        // Two responses are correct only where the lengths are unambiguous, which is nowhere here.
        if answer.responses() > 1 {
            split.push(name);
        }
        statuses.push(status_name(answer.status));
    }
    statuses.sort();
    statuses.dedup();
    Ok(match split.is_empty() {
        true => Observation::new(true, format!("{count} shapes, no second response; {}", statuses.join(", "))),
        false => Observation::new(false, format!("a second response for: {}", split.join(", "))),
    })
}

pub(super) async fn protocol_upgrade(target: &AttackTarget) -> AttackOutcome {
    let h2c = "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    let h2c = format!("GET / HTTP/1.1\r\nHost: {}\r\n{h2c}\r\n", target.site.authority()).into_bytes();
    let h2c = exchange(&target.site, &h2c, SHORT_LIMIT).await?;
    let preface = target.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let connect = target.exchange(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n").await?;
    let statuses = [h2c.status, preface.status, connect.status];
    let ok = statuses[0] != 101 && statuses[1] != 101 && connect.status != 200;
    let [h2c, preface, connect] = statuses.map(status_name);
    Ok(Observation::new(ok, format!("h2c: {h2c}; HTTP/2 preface: {preface}; CONNECT: {connect}")))
}

pub(super) async fn invalid_handshake(target: &AttackTarget) -> AttackOutcome {
    let (host, cookie) = (target.site.authority(), target.cookie_line());
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let request = |method: &str, lines: &str| {
        format!("{method} /ws HTTP/1.1\r\nHost: {host}\r\n{cookie}{lines}Content-Length: 0\r\n\r\n").into_bytes()
    };
    let requests = vec![
        ("no upgrade", target.request("GET", "/ws", &cookie, "")),
        ("version 8", request("GET", &format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"))),
        ("no version", request("GET", &format!("{upgrade}{key}"))),
        ("no key", request("GET", &format!("{upgrade}{version}"))),
        ("foreign subprotocol", request("GET", &format!("{upgrade}{key}{version}Sec-WebSocket-Protocol: mqtt\r\n"))),
        ("POST", request("POST", &format!("{upgrade}{key}{version}"))),
    ];
    target.expect_statuses(requests, &[400, 404, 405, 426]).await
}

pub(super) async fn path_traversal(target: &AttackTarget) -> AttackOutcome {
    let paths = [
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/rooms/..%2f..%2fetc",
        "/rooms/a%00b",
        "/..//etc/passwd",
        "/assets/%c0%ae%c0%ae/etc/passwd",
    ];
    let requests = paths.map(|path| (path, target.request("GET", path, "", ""))).to_vec();
    target.expect_statuses(requests, &[400, 404]).await
}

pub(super) async fn admin_routes(target: &AttackTarget) -> AttackOutcome {
    let paths = ["/metrics", "/status", "/debug", "/admin", "/.env", "/.git/config"];
    let requests = paths.map(|path| (path, target.request("GET", path, "", ""))).to_vec();
    target.expect_statuses(requests, &[404]).await
}

pub(super) async fn oversized_head(target: &AttackTarget) -> AttackOutcome {
    let long_field = format!("X-Padding: {}\r\n", "x".repeat(4080));
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "a".repeat(1 << 20));
    let requests = vec![
        ("256 KiB", target.request("GET", "/", &long_field.repeat(64), "")),
        ("1 MiB", target.request("GET", "/", &long_field.repeat(256), "")),
        ("200 fields", target.request("GET", "/", &"X: y\r\n".repeat(200), "")),
        ("path of 1 MiB", long.into_bytes()),
    ];
    // The server may close before it has read everything, and the reset may overtake its answer.
    target.expect_statuses(requests, &[CLOSED, 400, 414, 431]).await
}

pub(super) async fn oversized_body(target: &AttackTarget) -> AttackOutcome {
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let name = |bytes: usize| format!("name={}", "x".repeat(bytes));
    let declared = |length: &str| {
        let host = target.site.authority();
        format!("POST /login HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{json}Content-Length: {length}\r\n\r\n")
            .into_bytes()
    };
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{form}Transfer-Encoding: chunked\r\n\r\n",
        target.site.authority()
    );
    let requests = vec![
        ("9 KiB form", target.request("POST", "/login", form, &name(9 * 1024))),
        ("1 MiB form", target.request("POST", "/login", form, &name(1 << 20))),
        ("9 KiB JSON", target.request("POST", "/login", json, &format!("{{\"name\":\"{}\"}}", "x".repeat(9 * 1024)))),
        ("declared 1 GiB", declared("1073741824")),
        ("declared 2^63", declared("9223372036854775808")),
        ("declared 2^70", declared("1180591620717411303424")),
        ("1 MiB in chunks", [head.as_bytes(), chunk.repeat(128).as_bytes()].concat()),
    ];
    let mut statuses = Vec::new();
    for (name, request) in requests {
        statuses.push((name, exchange_login(target, &request).await?.status));
    }
    Ok(Observation::of_statuses(&statuses, &[CLOSED, 400, 408, 413]))
}

pub(super) async fn security_headers(target: &AttackTarget) -> AttackOutcome {
    let login_page = target.exchange(&target.request("GET", "/", "", "")).await?;
    let chat_page = target.exchange(&target.request("GET", "/", &target.cookie_line(), "")).await?;
    let mut missing = Vec::new();
    for (page, answer) in [("login page", &login_page), ("chat page", &chat_page)] {
        let policy = answer.header("content-security-policy");
        let directives = [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ];
        let checks = directives.iter().map(|directive| (*directive, policy.contains(directive))).chain([
            ("no unsafe-inline", !policy.contains("unsafe")),
            ("nosniff", answer.header("x-content-type-options") == "nosniff"),
            ("Referrer-Policy", answer.header("referrer-policy") == "same-origin"),
            ("COOP", answer.header("cross-origin-opener-policy") == "same-origin"),
            ("status 200", answer.status == 200),
        ]);
        missing.extend(checks.filter(|(_, ok)| !ok).map(|(name, _)| format!("{page}: {name}")));
    }
    if !chat_page.header("cache-control").contains("no-store") {
        missing.push("chat page: no-store".to_owned());
    }
    Ok(match missing.is_empty() {
        true => Observation::new(true, "all present"),
        false => Observation::new(false, format!("missing: {}", missing.join(", "))),
    })
}
