//! Routes beside those of the application, its cookies, and the room that is reserved for gateways.

use serde_json::{Value, json};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Config, Gateway, script_routes};
use trunkline_session::MemorySessions;
use trunkline_testbed::Redis;

use super::{Instance, config, cookie, customer, get, header, open, request};
use crate::socket::client::ask;

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[actix_web::test]
async fn socket_routes_work_in_a_folder_and_leave_the_rest_to_the_application() {
    let redis = Redis::start().unwrap();
    let shop = Instance::of_shop("shop-1", &redis).await;
    shop.open("17").await;
    let answer = get(shop.port, "/live/session", &[("Cookie", &cookie("17"))]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(body(&answer), json!({"user": "17", "name": "A customer", "instance": "shop-1"}));
    let answer = get(shop.port, "/live/session", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("not_logged_in"), "{answer}");
    for path in ["/", "/ws", "/session", "/login", "/rooms", "/rooms/orders.17", "/assets/x.js", "/metrics"] {
        let answer = get(shop.port, path, &[("Cookie", &cookie("17"))]).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

#[actix_web::test]
async fn cookie_of_the_application_is_undisturbed_whatever_its_name() {
    let gateway = Gateway::builder(LocalBus::new(LocalConfig::default())).identify(customer).build().unwrap();
    let host = Instance::start(gateway, |gateway, config| {
        config.configure(gateway.socket_routes("/ws"));
    });
    let odd = "a=\"b\"; ö=%zz; =;;";
    for cookies in [cookie("17"), format!("{odd}; {}", cookie("17")), format!("{}; theme=dark", cookie("17"))] {
        let answer = get(host.port, "/session", &[("Cookie", &cookies)]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{cookies}: {answer}");
        assert_eq!(header(&answer, "set-cookie"), None);
    }
    let answer = get(host.port, "/session", &[("Cookie", "theme=dark")]).await;
    assert!(answer.starts_with("HTTP/1.1 401") && header(&answer, "set-cookie").is_none(), "{answer}");
    assert!(cookie("17").starts_with("jsessionid="));
}

#[actix_web::test]
async fn clients_cannot_use_the_room_of_the_gateways() {
    let config = Config { name_login: true, ..config("host") };
    let sessions = MemorySessions::in_memory(config.lifetimes);
    let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config).unwrap();
    let host = Instance::start(gateway, |gateway, config| gateway.routes(config));
    let login = ask(host.port, "POST /login", &json!({"name": "ann"}).to_string()).await;
    let cookie = header(&login, "set-cookie").and_then(|line| line.split(';').next()).unwrap();
    let mut ann = open(host.port, "/ws", &[("cookie", cookie)]).await.unwrap();

    const CONTROL: &str = "trunkline.control";
    ann.send(json!({"type": "join", "room": CONTROL})).await;
    let refused = ann.next().await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("forbidden")));
    for frame in [
        json!({"type": "send", "room": CONTROL, "id": "a", "text": "d 17"}),
        json!({"type": "signal", "room": CONTROL, "event": "disconnect", "data": "17"}),
        json!({"type": "history", "room": CONTROL}),
        json!({"type": "seen", "room": CONTROL, "pos": "0-0"}),
        json!({"type": "typing", "room": CONTROL}),
    ] {
        ann.send(frame.clone()).await;
        let refused = ann.next().await;
        assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("not_joined")), "{frame}");
    }
    let page = get(host.port, &format!("/rooms/{CONTROL}"), &[("Cookie", cookie), ("Accept", "text/html")]).await;
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    assert_eq!(body(&get(host.port, "/rooms", &[("Cookie", cookie)]).await), json!({"rooms": []}));
}

#[actix_web::test]
async fn browser_library_is_served_with_all_modules_that_it_imports() {
    let gateway = Gateway::builder(LocalBus::new(LocalConfig::default())).identify(customer).build().unwrap();
    let host = Instance::start(gateway, |_, config| {
        config.configure(script_routes("/trunkline/"));
    });
    let mut files = vec!["trunkline.js".to_owned(), "fold.js".to_owned()];
    let mut next = 0;
    while let Some(file) = files.get(next) {
        let answer = get(host.port, &format!("/trunkline/{file}"), &[]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{file}: {answer}");
        assert_eq!(header(&answer, "content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        let imports = answer.split(" from \"./").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        let new: Vec<String> = imports.filter(|import| !files.contains(import)).collect();
        files.extend(new);
        next += 1;
    }
    assert!(files.len() > 5, "{files:?}");

    // The browser asks again, and is sent nothing while the file is the same.
    let answer = get(host.port, "/trunkline/trunkline.js", &[]).await;
    assert_eq!(header(&answer, "cache-control"), Some("no-cache"));
    let tag = header(&answer, "etag").unwrap();
    let same = get(host.port, "/trunkline/trunkline.js", &[("If-None-Match", tag)]).await;
    assert!(same.starts_with("HTTP/1.1 304") && same.ends_with("\r\n\r\n"), "{same}");

    // Files of the gateway's own pages are not part of the library.
    for file in ["chat.js", "style.css", "machine.js", "nothing"] {
        let answer = get(host.port, &format!("/trunkline/{file}"), &[]).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{file}: {answer}");
    }
    let answer = request(host.port, "POST", "/trunkline/trunkline.js", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}
