//! HTTP: pages, login, probes, assets, and the checks before a socket is opened.
//!
//! A request passes these layers, from the outside: [`headers`] (security headers), for `/ws` [`upgrade`] (426, or 503
//! while draining), [`cookie`] (at most one session cookie), [`outage`] (503 if the session store does not answer), the
//! session middleware, the handler. Probes and assets need no session and pass the first layer at most, so they work
//! without the session store.

#[cfg(feature = "scripts")]
mod assets;
#[cfg(feature = "pages")]
mod chat;
pub(crate) mod cookie;
#[cfg(feature = "pages")]
pub(crate) mod cookie_check;
mod cross_origin;
pub(crate) mod cross_site;
pub(crate) mod error;
pub(crate) mod forwarded;
mod headers;
mod health;
pub(crate) mod identify;
pub(crate) mod login;
#[cfg(feature = "oidc")]
mod oidc;
mod outage;
mod rooms;
mod session;
mod state;
mod upgrade;

use actix_web::{
    HttpRequest, HttpResponse, Resource, Route, guard,
    http::{Method, header::ALLOW},
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use trunkline_session::Sessions;

#[cfg(feature = "scripts")]
pub use self::assets::script_routes;
pub(crate) use self::state::{GatewayView, HttpState, RoomCounts, RoomListError};
use self::{error::HttpError, identify::accepts_tokens};

/// Adds all routes of the public listener. `socket` answers `GET /ws` inside the session middleware.
pub(crate) fn routes<S: Sessions>(state: web::Data<HttpState<S>>, socket: Route) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        health_routes(state.clone())(config);
        #[cfg(feature = "pages")]
        config.app_data(web::Data::new(state.login_methods()));
        let read_only = AllowedMethods(&[Method::GET, Method::HEAD]);
        let post = AllowedMethods(&[Method::POST]);
        #[cfg(feature = "pages")]
        config.service(
            read_only.at("/assets/{file}", web::to(assets::serve)).wrap(from_fn(headers::add_security_headers::<S, _>)),
        );
        for resource in [
            #[cfg(feature = "pages")]
            read_only.at("/", web::to(chat::home::<S>)),
            #[cfg(feature = "pages")]
            read_only.at("/rooms/{room}", web::to(chat::room::<S>)),
            read_only.at("/rooms", web::to(rooms::list::<S>)),
            probe(&state, "/session"),
            post.at("/login", web::to(login::login::<S>)),
            post.at("/logout", web::to(login::logout::<S>)),
            #[cfg(feature = "oidc")]
            AllowedMethods(&[Method::GET]).at("/login/oidc", web::to(oidc::start::<S>)),
            #[cfg(feature = "oidc")]
            AllowedMethods(&[Method::GET]).at(oidc::CALLBACK_PATH, web::to(oidc::callback::<S>)),
        ] {
            add_resource(config, &state, resource);
        }
        add_socket(config, &state, "/ws", socket);
    }
}

/// Adds the socket at `path`, and the session probe beside it.
pub(crate) fn socket_routes<S: Sessions>(
    state: web::Data<HttpState<S>>,
    path: &str,
    socket: Route,
) -> impl FnOnce(&mut ServiceConfig) + use<S> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (path, probe_path) = (path.to_owned(), format!("{folder}/session"));
    move |config| {
        config.app_data(state.clone());
        add_resource(config, &state, probe(&state, &probe_path));
        add_socket(config, &state, &path, socket);
    }
}

/// The session probe, which pages of other origins may ask with a token.
fn probe<S: Sessions>(state: &HttpState<S>, path: &str) -> Resource {
    let probe = AllowedMethods(&[Method::GET, Method::HEAD]).at(path, web::to(session::probe::<S>));
    if accepts_tokens(&state.config) {
        probe.route(web::method(Method::OPTIONS).to(cross_origin::preflight))
    } else {
        probe
    }
}

/// Adds a resource whose handlers know the session, if there are sessions.
fn add_resource<S: Sessions>(config: &mut ServiceConfig, state: &web::Data<HttpState<S>>, resource: Resource) {
    if S::ARE_KEPT {
        config.service(
            resource
                .wrap(state.session_middleware())
                .wrap(from_fn(outage::answer_store_failure))
                .wrap(from_fn(cookie::select_session_cookie::<S, _>))
                .wrap(from_fn(headers::add_security_headers::<S, _>)),
        );
    } else {
        config.service(resource.wrap(from_fn(headers::add_security_headers::<S, _>)));
    }
}

fn add_socket<S: Sessions>(config: &mut ServiceConfig, state: &web::Data<HttpState<S>>, path: &str, socket: Route) {
    let resource = AllowedMethods(&[Method::GET]).at(path, socket);
    if S::ARE_KEPT {
        config.service(
            resource
                .wrap(state.session_middleware())
                .wrap(from_fn(outage::answer_store_failure))
                .wrap(from_fn(cookie::select_session_cookie::<S, _>))
                .wrap(from_fn(upgrade::check_upgrade::<S, _>))
                .wrap(from_fn(headers::add_security_headers::<S, _>)),
        );
    } else {
        config.service(
            resource.wrap(from_fn(upgrade::check_upgrade::<S, _>)).wrap(from_fn(headers::add_security_headers::<S, _>)),
        );
    }
}

/// Adds the probes and `routes` of the admin listener, and with the feature `pages` what its page loads.
pub(crate) fn admin_routes<S: Sessions>(
    state: web::Data<HttpState<S>>,
    routes: impl IntoIterator<Item = (&'static str, Route)>,
) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        health_routes(state)(config);
        let read_only = AllowedMethods(&[Method::GET, Method::HEAD]);
        #[cfg(feature = "pages")]
        let routes = routes.into_iter().chain([("/assets/{file}", web::to(assets::serve))]);
        for (path, route) in routes {
            config.service(read_only.at(path, route).wrap(from_fn(headers::add_security_headers::<S, _>)));
        }
    }
}

/// Adds `/healthz` and `/readyz`, which both listeners serve.
pub(crate) fn health_routes<S: Sessions>(state: web::Data<HttpState<S>>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let read_only = AllowedMethods(&[Method::GET, Method::HEAD]);
        config
            .app_data(state)
            .service(read_only.at("/healthz", web::to(health::alive)))
            .service(read_only.at("/readyz", web::to(health::ready::<S>)));
    }
}

/// Answers 404 as JSON or as a page, for [`App::default_service`](actix_web::App::default_service).
#[allow(clippy::unused_async, reason = "handlers are async")]
pub async fn not_found(request: HttpRequest) -> HttpResponse {
    HttpError::NotFound.answer(&request)
}

/// The methods of a resource. Others are answered with 405 and `Allow` (RFC 9110 section 15.5.6).
#[derive(Clone, Copy)]
struct AllowedMethods(&'static [Method]);

impl AllowedMethods {
    fn at(self, path: &str, route: Route) -> Resource {
        let Self(methods) = self;
        let is_allowed = guard::fn_guard(move |context| methods.contains(&context.head().method));
        let refuse = move |request: HttpRequest| async move {
            let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let mut answer = HttpError::MethodNotAllowed.answer(&request);
            if let Ok(names) = names.join(", ").try_into() {
                answer.headers_mut().insert(ALLOW, names);
            }
            answer
        };
        web::resource(path).route(route.guard(is_allowed)).default_service(web::to(refuse))
    }
}
