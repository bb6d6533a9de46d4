//! Pages, login, probes and assets: everything that is not a socket, and what stands before one.
//!
//! A request passes, from the outside: [`headers`] (security headers) → for the socket [`upgrade`] (426, draining) →
//! [`cookie`] (one session cookie or none) → [`outage`] (a store that fails becomes 503) → the session middleware → the
//! handler. Health and assets need no session and pass the first only, so they answer whatever the store does.

pub(crate) mod assets;
mod cookie;
pub(crate) mod error;
pub(crate) mod forwarded;
mod headers;
mod health;
mod login;
mod login_limit;
pub(crate) mod origin;
mod outage;
mod site;
mod upgrade;
mod visit;

use actix_web::{
    HttpRequest, HttpResponse, Resource, Route, guard,
    http::{Method, header::ALLOW},
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use trunkline_session::Sessions;

use self::error::Problem;
pub use self::origin::{InvalidOrigin, Origin};
pub(crate) use self::site::{NoRooms, Rooms, Running, Site};

/// All routes of the public listener; `socket` answers `GET /ws`, inside the session middleware.
pub(crate) fn routes<S: Sessions>(site: web::Data<Site<S>>, socket: Route) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        health_routes(site.clone())(config);
        let reading = Allowed(&[Method::GET, Method::HEAD]);
        let posting = Allowed(&[Method::POST]);
        let assets = reading.at("/assets/{file}", web::to(assets::serve)).wrap(from_fn(headers::set::<S, _>));
        config.service(assets);
        for resource in [
            reading.at("/", web::to(visit::home::<S>)),
            reading.at("/rooms", web::to(visit::rooms::<S>)),
            reading.at("/rooms/{room}", web::to(visit::room::<S>)),
            reading.at("/session", web::to(visit::probe::<S>)),
            posting.at("/login", web::to(login::login::<S>)),
            posting.at("/logout", web::to(login::logout::<S>)),
        ] {
            config.service(
                resource
                    .wrap(site.session_middleware())
                    .wrap(from_fn(outage::explain))
                    .wrap(from_fn(cookie::only_ours::<S, _>))
                    .wrap(from_fn(headers::set::<S, _>)),
            );
        }
        config.service(
            Allowed(&[Method::GET])
                .at("/ws", socket)
                .wrap(site.session_middleware())
                .wrap(from_fn(outage::explain))
                .wrap(from_fn(cookie::only_ours::<S, _>))
                .wrap(from_fn(upgrade::gate::<S, _>))
                .wrap(from_fn(headers::set::<S, _>)),
        );
    }
}

/// All routes of the listener for operators; `page` and `json` show the status, `metrics` the counters.
pub(crate) fn admin_routes<S: Sessions>(
    site: web::Data<Site<S>>,
    [page, json, metrics]: [Route; 3],
) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        health_routes(site)(config);
        let reading = Allowed(&[Method::GET, Method::HEAD]);
        for resource in [
            reading.at("/", page),
            reading.at("/status", json),
            reading.at("/metrics", metrics),
            reading.at("/assets/{file}", web::to(assets::serve)),
        ] {
            config.service(resource.wrap(from_fn(headers::set::<S, _>)));
        }
    }
}

/// `/healthz` and `/readyz`, for either listener.
pub(crate) fn health_routes<S: Sessions>(site: web::Data<Site<S>>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let reading = Allowed(&[Method::GET, Method::HEAD]);
        config
            .app_data(site)
            .service(reading.at("/healthz", web::to(health::alive)))
            .service(reading.at("/readyz", web::to(health::ready::<S>)));
    }
}

/// 404 as JSON or as a page, for [`App::default_service`](actix_web::App::default_service).
#[allow(clippy::unused_async, reason = "handlers are async")]
pub async fn not_found(request: HttpRequest) -> HttpResponse {
    Problem::NotFound.answer(&request)
}

/// The methods of a resource. Others are answered with 405 and the list (RFC 9110 section 15.5.6).
#[derive(Clone, Copy)]
struct Allowed(&'static [Method]);

impl Allowed {
    fn at(self, path: &str, route: Route) -> Resource {
        let Self(methods) = self;
        let asked = guard::fn_guard(move |context| methods.contains(&context.head().method));
        let refuse = move |request: HttpRequest| async move {
            let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let mut answer = Problem::MethodNotAllowed.answer(&request);
            if let Ok(names) = names.join(", ").try_into() {
                answer.headers_mut().insert(ALLOW, names);
            }
            answer
        };
        web::resource(path).route(route.guard(asked)).default_service(web::to(refuse))
    }
}
