//! Pages, assets, probes, methods and languages, and the headers of each.

use actix_web::http::{Method, StatusCode};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Config, Gateway};

use super::{
    browser::{Answer, Browser, mounted, site},
    in_memory,
};

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' \
                   ws://chat.example; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn assert_secure(answer: &Answer) {
    assert_eq!(answer.header("content-security-policy"), CSP);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert_eq!(answer.header("strict-transport-security"), "", "over http");
}

#[actix_web::test]
async fn pages_have_security_headers_and_the_elements_of_the_scripts() {
    let site = site(in_memory(), Config::default()).await;
    let mut ann = Browser::default();
    let login = ann.get("/").send(&site).await;
    assert_secure(&login);
    ann.log_in(&site, "ann").await;
    let chat = ann.get("/rooms/d.e-n_1").send(&site).await;
    assert_secure(&chat);
    assert_eq!(chat.header("cache-control"), "no-store");
    assert_eq!(chat.header("content-type"), "text/html; charset=utf-8");
    assert!(chat.body.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{:.80}", chat.body);
    for part in [
        "<title>d.e-n_1 · Trunkline</title>",
        "<body class=\"chat\" data-room=\"d.e-n_1\" data-user=\"ann\" data-instance=\"trunkline\">",
        "pattern=\"[a-z0-9][a-z0-9._\\-]{0,63}\"",
        "placeholder=\"Message d.e-n_1\"",
        "<script type=\"application/json\" id=\"strings\">{",
        "<script type=\"module\" src=\"/assets/chat-",
    ] {
        assert!(chat.body.contains(part), "{part}");
    }
    // No inline script, style or handler, because the Content-Security-Policy blocks them.
    assert!(!chat.body.contains("<style") && !chat.body.contains(" style=") && !chat.body.contains(" onclick="));
    let strings = chat.body.split("id=\"strings\">").nth(1).unwrap().split("</script>").next().unwrap();
    let strings: serde_json::Value = serde_json::from_str(strings).unwrap();
    assert_eq!(strings["language"], "en");
}

#[actix_web::test]
async fn names_are_escaped_in_pages() {
    let site = site(in_memory(), Config::default()).await;
    let mut eve = Browser::default();
    let refused = eve.submit("/login", "name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").send(&site).await;
    assert_eq!(refused.status, 400);
    // The field keeps the name as it was typed, escaped.
    assert!(refused.body.contains("value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;\""), "{}", refused.body);
    assert!(!refused.body.contains("alert(1)</script>"));
    eve.log_in(&site, "O%27Neil").await;
    assert!(eve.get("/").send(&site).await.body.contains("data-user=\"O'Neil\""));
}

#[actix_web::test]
async fn pages_use_the_accepted_language() {
    let site = site(in_memory(), Config::default()).await;
    let page = Browser::default().get("/").header("accept-language", "zh-CN,zh;q=0.9,en;q=0.8").send(&site).await;
    assert!(page.body.contains("<html lang=\"zh-Hans\">") && page.body.contains("登录"));
    let page = Browser::default().submit("/login", "name=root").header("accept-language", "zh").send(&site).await;
    assert!(page.body.contains("这个名字是保留的。"));
}

#[actix_web::test]
async fn https_follows_from_the_public_origin_or_a_trusted_proxy() {
    let public = Config { public_origins: vec!["https://chat.example".parse().unwrap()], ..Config::default() };
    let page = Browser::default().get("/").send(&site(in_memory(), public).await).await;
    assert!(page.header("strict-transport-security").starts_with("max-age="));
    assert!(page.header("content-security-policy").contains("connect-src 'self' wss://chat.example;"));

    let behind = Config { trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()], ..Config::default() };
    let site = site(in_memory(), behind).await;
    let page = Browser::default().get("/").header("x-forwarded-proto", "https").send(&site).await;
    assert!(page.header("strict-transport-security").starts_with("max-age="));
    let page = Browser::default().get("/").header("x-forwarded-proto", "https").from("198.51.100.1").send(&site).await;
    assert_eq!(page.header("strict-transport-security"), "", "not a proxy of ours");
}

#[actix_web::test]
async fn room_list_needs_a_session_and_comes_as_json_or_page() {
    let site = site(in_memory(), Config::default()).await;
    let mut ann = Browser::default();
    let answer = ann.fetch("/rooms").send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "not_logged_in"));
    let answer = ann.get("/rooms").send(&site).await;
    assert!(answer.status == 401 && answer.is_login_page() && answer.body.contains("value=\"/rooms\""));

    ann.log_in(&site, "ann").await;
    let answer = ann.fetch("/rooms").header("accept", "application/json").send(&site).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, r#"{"rooms":[]}"#));
    let answer = ann.get("/rooms").send(&site).await;
    assert!(answer.status == 200 && answer.body.contains("<title>Rooms · Trunkline</title>"));
}

#[actix_web::test]
async fn unknown_paths_get_404() {
    let site = site(in_memory(), Config::default()).await;
    let long = format!("/rooms/{}", "x".repeat(65));
    for path in
        ["/nowhere", "/rooms/Lobby", "/rooms/a%20b", "/rooms/.x", "/rooms/a/b", "/rooms/", &long, "/assets/chat.js"]
    {
        let page = Browser::default().get(path).send(&site).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.body.contains("There is no such page."), "{path}: {page:?}");
        assert_eq!(Browser::default().fetch(path).send(&site).await.code(), "not_found", "{path}");
    }
}

#[actix_web::test]
async fn other_methods_get_405_with_allow() {
    let site = site(in_memory(), Config::default()).await;
    for (method, path, allow) in [
        (Method::POST, "/", "GET, HEAD"),
        (Method::DELETE, "/rooms", "GET, HEAD"),
        (Method::PUT, "/rooms/lobby", "GET, HEAD"),
        (Method::POST, "/session", "GET, HEAD"),
        (Method::GET, "/login", "POST"),
        (Method::GET, "/logout", "POST"),
        (Method::POST, "/healthz", "GET, HEAD"),
        (Method::POST, "/readyz", "GET, HEAD"),
        (Method::POST, "/assets/x", "GET, HEAD"),
    ] {
        let answer = Browser::default().ask(method, path).send(&site).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allow), "{path}");
        assert_eq!(answer.code(), "method_not_allowed");
    }
}

#[actix_web::test]
async fn assets_are_cached_forever_and_import_hashed_names() {
    let site = site(in_memory(), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    let page = ann.get("/").send(&site).await.body;
    let mut paths: Vec<String> =
        page.split("\"/assets/").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert_eq!(paths.len(), 3, "icon, style, script");
    let mut seen = 0;
    while let Some(name) = paths.pop() {
        let path = format!("/assets/{name}");
        let file = Browser::default().fetch(&path).send(&site).await;
        assert_eq!(file.status, StatusCode::OK, "{name}");
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
        let media_type = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(file.header("content-type"), media_type);
        assert_secure(&file);
        assert!(file.cookies().is_empty());
        assert_eq!(Browser::default().ask(Method::HEAD, &path).send(&site).await.status, StatusCode::OK);
        let imports = file.body.lines().filter(|line| line.starts_with("import "));
        paths.extend(imports.map(|line| line.split("\"./").nth(1).unwrap().trim_end_matches("\";").to_owned()));
        seen += 1;
    }
    assert!(seen >= 7, "{seen}");
}

#[actix_web::test]
async fn file_of_another_build_is_redirected_and_never_cached() {
    let site = site(in_memory(), Config::default()).await;
    let ours = Browser::default().get("/").send(&site).await.body;
    let style = ours.split("\"/assets/style-").nth(1).unwrap().split('"').next().unwrap();
    let (hash, _) = style.split_once('.').unwrap();
    let another: String = hash.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();

    let mut path = format!("/assets/style-{another}.css");
    for round in 1..=16 {
        let answer = Browser::default().fetch(&path).send(&site).await;
        let expected = (StatusCode::TEMPORARY_REDIRECT, format!("?round={round}"));
        assert_eq!((answer.status, answer.header("location").to_owned()), expected);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_secure(&answer);
        path = format!("/assets/style-{another}.css?round={round}");
    }
    for path in [&path, "/assets/x-1.js", "/assets/style.css", &format!("/assets/style-{another}.css?round=-1")] {
        let answer = Browser::default().fetch(path).send(&site).await;
        assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::NOT_FOUND, "no-store"), "{path}");
    }
}

#[actix_web::test]
async fn readiness_fails_while_draining_and_health_does_not() {
    let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), in_memory(), Config::default()).unwrap();
    let site = mounted(gateway.clone()).await;
    let alive = Browser::default().fetch("/healthz").send(&site).await;
    assert_eq!(alive.status, StatusCode::OK);
    let ready = Browser::default().fetch("/readyz").send(&site).await;
    assert_eq!(ready.status, StatusCode::OK, "{ready:?}");
    let json = ready.json();
    assert_eq!((json["ready"].as_bool(), json["instance"].as_str()), (Some(true), Some("trunkline")));
    assert_eq!(json["checks"]["sessions"]["ok"], true);
    assert_eq!(json["degraded"], serde_json::json!([]));

    let draining = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.drain().await }
    });
    tokio::task::yield_now().await;
    let ready = Browser::default().fetch("/readyz").send(&site).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["checks"]["drain"]["ok"], false);
    assert_eq!(Browser::default().fetch("/healthz").send(&site).await.status, StatusCode::OK);
    assert!(Browser::default().get("/").send(&site).await.is_login_page(), "it still serves");
    draining.await.unwrap();
}
