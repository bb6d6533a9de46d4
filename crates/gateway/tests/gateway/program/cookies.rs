//! Browsers with cookies of other services, and browsers without cookies.

use trunkline_testbed::Gateway;

use super::{
    client::{Response, load, log_in, request, submit},
    gateway,
};

fn start() -> (Gateway, u16) {
    let gateway = gateway().start().unwrap();
    let port = gateway.port().unwrap();
    (gateway, port)
}

fn probe(port: u16, cookies: &[u8]) -> Response {
    request(port, "GET /session", &[&[b"Cookie: ", cookies].concat()], "")
}

#[test]
fn cookies_of_other_services_do_not_affect_the_session() {
    let (gateway, port) = start();
    let ours = log_in(port, "ann").cookie();
    let ours = ours.as_bytes();
    for other in [&b"x=\xe9"[..], b"x=\xc3\xa9", b"\xff\xfe=1", b"x=\"a b\"", b"jsessionid=0123456789ABCDEF", b"x"] {
        for cookies in [[other, b"; ", ours].concat(), [ours, b"; ", other].concat()] {
            let answer = probe(port, &cookies);
            assert_eq!(answer.status(), 200, "{}: {answer:?}", String::from_utf8_lossy(&cookies));
        }
    }
    let lines = gateway.last_lines();
    assert_eq!(lines.matches("another --cookie-name").count(), 1, "{lines}");
}

#[test]
fn live_session_is_found_among_two_cookies_of_the_name() {
    let (_gateway, port) = start();
    let ended = log_in(port, "ann").cookie();
    request(port, "POST /logout", &[format!("Cookie: {ended}").as_bytes()], "");
    let live = log_in(port, "ann").cookie();
    for cookies in [format!("{ended}; {live}"), format!("{live}; {ended}")] {
        assert_eq!(probe(port, cookies.as_bytes()).status(), 200);
    }
    let other = log_in(port, "eve").cookie();
    assert_eq!(probe(port, format!("{other}; {live}").as_bytes()).status(), 401, "one of them was planted");
}

/// The value of a hidden field.
fn field<'a>(page: &'a Response, name: &str) -> &'a str {
    let start = format!("name=\"{name}\" value=\"");
    page.0.split(&start).nth(1).unwrap_or_else(|| panic!("{page:?}")).split('"').next().unwrap()
}

#[test]
fn browser_without_cookies_gets_a_notice_and_can_log_in_after_allowing_them() {
    let (_gateway, port) = start();
    let form = load(port, "/rooms/den", &[]);
    let answer = submit(port, "/login", &format!("name=ann&attempt={}&next=/rooms/den", field(&form, "attempt")));
    assert_eq!(answer.status(), 303);
    let location = answer.header("location").unwrap().to_owned();
    let page = load(port, &location, &[format!("Referer: http://127.0.0.1:{port}/rooms/den").as_bytes()]);
    assert!(page.status() == 200 && page.0.contains("Allow cookies for this site"), "{page:?}");
    assert_eq!(field(&page, "next"), "/rooms/den");

    // The person allows cookies and sends that form: the first login does not block the name.
    let again = submit(port, "/login", &format!("name=ann&attempt={}&next=/rooms/den", field(&page, "attempt")));
    assert_eq!(again.status(), 303, "{again:?}");
    let cookie = format!("Cookie: {}", again.cookie());
    let kept = load(port, again.header("location").unwrap(), &[cookie.as_bytes()]);
    assert_eq!((kept.status(), kept.header("location")), (303, Some("/rooms/den")), "the address bar shows no marker");
    let chat = load(port, "/rooms/den", &[cookie.as_bytes()]);
    assert!(chat.0.contains("data-user=\"ann\""), "{chat:?}");
}

#[test]
fn marker_of_another_site_does_not_choose_the_attempt() {
    let (_gateway, port) = start();
    let marker = "/?login=00f100f100f100f100f100f100f100f1";
    for headers in [&[&b"Sec-Fetch-Site: cross-site"[..]][..], &[b"Referer: http://evil.example/"], &[]] {
        let page = load(port, marker, headers);
        assert!(!page.0.contains("Allow cookies") && !field(&page, "attempt").starts_with("00f1"), "{page:?}");
    }
}

#[test]
fn login_under_an_address_that_is_not_public_names_the_public_one() {
    let gateway = gateway().args(["--public-origin", "https://chat.example"]).start().unwrap();
    let port = gateway.port().unwrap();
    let own = format!("Origin: http://127.0.0.1:{port}");
    let headers = [&b"Accept: text/html"[..], b"Content-Type: application/x-www-form-urlencoded", own.as_bytes()];
    let page = request(port, "POST /login", &headers, "name=ann");
    assert!(page.status() == 403 && page.0.contains("works only under https://chat.example."), "{page:?}");
    // A Secure cookie that the browser drops, because the page came over http.
    let page = load(port, "/?login=00f100f100f100f100f100f100f100f1", &[b"Sec-Fetch-Site: same-origin"]);
    assert!(page.0.contains("Open https://chat.example, allow cookies"), "{page:?}");
}

#[test]
fn every_refusal_page_says_what_to_do_next() {
    let (_gateway, port) = start();
    log_in(port, "ann");
    let taken = submit(port, "/login", "name=ann");
    assert!(taken.status() == 409 && taken.0.contains("Choose another name"), "{taken:?}");
    let reserved = submit(port, "/login", "name=root");
    assert!(reserved.status() == 400 && reserved.0.contains("Choose another one"), "{reserved:?}");
    let foreign = request(port, "POST /logout", &[b"Accept: text/html", b"Origin: http://evil.example"], "");
    assert!(foreign.status() == 403 && foreign.0.contains("Open the chat and repeat it there"), "{foreign:?}");
    for (method, path, status) in [("GET", "/nowhere", 404), ("GET", "/login", 405), ("GET", "/logout", 405)] {
        let page = request(port, &format!("{method} {path}"), &[b"Accept: text/html"], "");
        assert!(page.status() == status && page.0.contains("<a href=\"/\">"), "{page:?}");
    }
}
