//! A shop: its own customers, its own login, its own page. Trunkline carries the events of each customer's orders.
//!
//! ```sh
//! cargo run -p trunkline-gateway --example host                          # http://127.0.0.1:8080, one process
//! export REDIS_URL=redis://127.0.0.1:6379 SHOP_SECRET=$(openssl rand -hex 32)
//! PORT=8081 cargo run -p trunkline-gateway --example host                # any number of instances over Redis
//! ```
//!
//! Log in as customer 17 with PIN 1234, or as 42 with PIN 4321. SIGTERM or Ctrl-C drains the instance.

use std::{
    env,
    error::Error,
    future::ready,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    App, HttpRequest, HttpResponse, Responder,
    cookie::{Cookie, CookieJar, Key, SameSite},
    http::header::LOCATION,
    rt, web,
};
use serde::Deserialize;
use serde_json::json;
use trunkline_bus::{Bus, InstanceRegistry, LocalBus, LocalConfig, PresenceStore, RedisBus, RedisConfig, SharedLimits};
use trunkline_gateway::{
    Action, Config, Denied, Gateway, Identity, Policy, Publication, PublishError, Server, Unidentified, script_routes,
};
use trunkline_session::NoSessions;

/// Number, name and PIN. A real shop asks its database.
const CUSTOMERS: [(&str, &str, &str); 2] = [("17", "Ann", "1234"), ("42", "Bob", "4321")];
/// How long a login lasts.
const LOGIN_TIME: Duration = Duration::from_secs(8 * 60 * 60);
const COOKIE: &str = "shop";

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match env::var("REDIS_URL") {
        Ok(url) => run(RedisBus::new(RedisConfig::new(url))?).await,
        Err(_) => run(LocalBus::new(LocalConfig::default())).await,
    }
}

async fn run<B: Bus + PresenceStore + InstanceRegistry + SharedLimits>(bus: B) -> Result<(), Box<dyn Error>> {
    let address = format!("127.0.0.1:{}", env::var("PORT").as_deref().unwrap_or("8080"));
    // All instances need the same key, so that a login at one is valid at all.
    let key = env::var("SHOP_SECRET").map_or_else(|_| Key::generate(), |secret| Key::derive_from(secret.as_bytes()));
    let logins = Logins(key);

    let gateway = Gateway::builder(bus)
        .config(Config { instance: address.clone(), name_login: false, ..Config::default() })
        .identify({
            let logins = logins.clone();
            async move |request: &HttpRequest| logins.identity(request).ok_or(Unidentified::NotGiven)
        })
        .policy(OwnOrders)
        .build()?;

    let (logins, orders) = (web::Data::new(logins), web::Data::new(gateway.clone()));
    let app = {
        let gateway = gateway.clone();
        move || {
            App::new()
                .app_data(logins.clone())
                .app_data(orders.clone())
                .route("/", web::get().to(home))
                .route("/login", web::post().to(log_in))
                .route("/orders", web::post().to(order::<B>))
                .configure(gateway.socket_routes("/live/ws"))
                .configure(script_routes("/trunkline"))
                .configure(|routes| gateway.health_routes(routes))
        }
    };
    println!("http://{address}");
    // Returns after SIGTERM or SIGINT, when every page has been asked to connect to another instance.
    Ok(Server::new(gateway, app).run(address).await?)
}

/// A customer receives the events of their own orders, and only the shop sends.
#[derive(Clone)]
struct OwnOrders;

impl Policy for OwnOrders {
    fn decide(&self, customer: &Identity, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
        let is_allowed = match action {
            Action::Join(room) | Action::Read(room) => room.as_str() == format!("orders.{}", customer.user()),
            Action::Send(_) | Action::Moderate(_) | Action::List => false,
        };
        ready(if is_allowed { Ok(()) } else { Err(Denied("These are not your orders.".to_owned())) })
    }
}

/// Makes and reads the cookie of a login: `<customer>.<end in seconds since the Unix epoch>`, signed.
#[derive(Clone)]
struct Logins(Key);

impl Logins {
    fn cookie(&self, customer: &str) -> Cookie<'static> {
        let end = (SystemTime::now() + LOGIN_TIME).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.0).add(Cookie::new(COOKIE, format!("{customer}.{end}")));
        let value = jar.get(COOKIE).map_or("", Cookie::value).to_owned();
        Cookie::build(COOKIE, value).path("/").http_only(true).same_site(SameSite::Lax).finish()
    }

    fn identity(&self, request: &HttpRequest) -> Option<Identity> {
        let mut jar = CookieJar::new();
        jar.add_original(request.cookie(COOKIE)?);
        let cookie = jar.signed(&self.0).get(COOKIE)?;
        let (number, end) = cookie.value().split_once('.')?;
        let end = UNIX_EPOCH + Duration::from_secs(end.parse().ok()?);
        let (_, name, _) = CUSTOMERS.into_iter().find(|(customer, ..)| *customer == number)?;
        // Sockets of this identity close when it ends. The request of an identity that has ended is refused.
        (SystemTime::now() < end).then_some(Identity::new(number.parse().ok()?).named(name.parse().ok()?).until(end))
    }
}

#[derive(Deserialize)]
struct LoginForm {
    customer: String,
    pin: String,
}

async fn log_in(logins: web::Data<Logins>, form: web::Form<LoginForm>) -> HttpResponse {
    let known = CUSTOMERS.iter().any(|(customer, _, pin)| (*customer, *pin) == (&*form.customer, &*form.pin));
    let mut answer = HttpResponse::SeeOther();
    if known {
        answer.cookie(logins.cookie(&form.customer));
    }
    answer.insert_header((LOCATION, "/")).finish()
}

async fn home(logins: web::Data<Logins>, request: HttpRequest) -> impl Responder {
    let page = match logins.identity(&request) {
        Some(customer) => ORDERS_PAGE.replace("CUSTOMER", customer.user().as_str()),
        None => LOGIN_PAGE.to_owned(),
    };
    web::Html::new(page)
}

type Shop<B> = Gateway<B, NoSessions, OwnOrders>;

/// Takes an order. The warehouse packs and ships it a little later.
async fn order<B: Bus + PresenceStore + InstanceRegistry + SharedLimits>(
    gateway: web::Data<Shop<B>>,
    logins: web::Data<Logins>,
    request: HttpRequest,
) -> Result<HttpResponse, Box<dyn Error>> {
    let Some(customer) = logins.identity(&request) else { return Ok(HttpResponse::Unauthorized().finish()) };
    let order = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    publish(&gateway, &customer, order, "ordered").await?;
    rt::spawn(async move {
        for event in ["packed", "shipped"] {
            rt::time::sleep(Duration::from_secs(2)).await;
            if let Err(error) = publish(&gateway, &customer, order, event).await {
                eprintln!("order {order}: {event} is not published: {error}");
            }
        }
    });
    Ok(HttpResponse::Accepted().json(json!({ "order": order.to_string() })))
}

/// Publishes an event of an order to its customer. As the id says which event it is, a repetition appends nothing: after an
/// error it is not known whether the event was appended.
async fn publish<B: Bus + PresenceStore + InstanceRegistry + SharedLimits>(
    gateway: &Shop<B>,
    customer: &Identity,
    order: u128,
    event: &str,
) -> Result<(), Box<dyn Error>> {
    let room = format!("orders.{}", customer.user()).parse()?;
    let data = json!({ "order": order.to_string(), "by": "ups" });
    let publication = Publication::event(event, data).user("shop").id(format!("{order}-{event}"));
    let mut attempts = 0;
    loop {
        match gateway.publish(&room, publication.clone()).await {
            Err(PublishError::Unavailable(_)) if attempts < 5 => attempts += 1,
            result => return Ok(result.map(drop)?),
        }
        rt::time::sleep(Duration::from_secs(1)).await;
    }
}

const LOGIN_PAGE: &str = r#"<!doctype html>
<title>Shop</title>
<h1>Shop</h1>
<form method="post" action="/login">
  <label>Customer <input name="customer" required></label>
  <label>PIN <input name="pin" type="password" autocomplete="current-password" required></label>
  <button>Log in</button>
</form>
"#;

const ORDERS_PAGE: &str = r#"<!doctype html>
<title>Your orders</title>
<h1>Orders of customer CUSTOMER</h1>
<button id="order">Order a book</button> <span id="state"></span>
<ol id="events"></ol>
<script type="module">
  import { Client } from "/trunkline/trunkline.js";

  const [events, state] = ["events", "state"].map((id) => document.getElementById(id));
  // The socket is /live/ws, and /live/session says whether the login still holds.
  const client = new Client({ url: new URL("/live/", location.href) });
  client.on("state", (now) => {
    state.textContent = now.state === "connected" ? `connected to ${now.instance}` : now.state;
    if (now.state === "ended") location.reload(); // to the login
  });
  client.on("message", ({ message }) => {
    const line = document.createElement("li");
    line.textContent = `order ${message.data.order}: ${message.event}`;
    events.append(line);
  });
  client.join("orders.CUSTOMER");
  client.connect();
  document.getElementById("order").onclick = () => fetch("/orders", { method: "POST" });
</script>
"#;
