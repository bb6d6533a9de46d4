//! A small site over a session store, and requests to it.

use std::time::Duration;

use actix_session::Session;
use actix_web::{
    App, Error, HttpResponse, Responder,
    body::{BoxBody, MessageBody, to_bytes},
    dev::{Service, ServiceRequest, ServiceResponse},
    error::{ErrorServiceUnavailable, ErrorUnauthorized},
    http::Method,
    middleware::{Next, from_fn},
    test::{TestRequest, init_service},
    web,
};
use trunkline_session::{
    CookieSettings, Lifetimes, Principal, SecretKeys, SessionError, SessionFailure, Sessions, login, login_external,
    logout, middleware, principal, rotate, touch_cookie, with_failure,
};

/// Short enough for tests that wait for Redis. The memory store's tests use a paused clock.
pub(crate) const LIFETIMES: Lifetimes = Lifetimes {
    idle: Duration::from_millis(2_000),
    max: Duration::from_millis(6_000),
    grace: Duration::from_millis(1_000),
};

pub(crate) const SECRET: [u8; 64] = [7; 64];

/// A response as a browser sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The value of the `Set-Cookie` header.
    pub(crate) set_cookie: Option<String>,
}

impl Answer {
    /// The `Cookie` header of later requests: `name=value`.
    pub(crate) fn cookie(&self) -> String {
        let line = self.set_cookie.as_deref().unwrap_or_else(|| panic!("no cookie in {self:?}"));
        line.split(';').next().unwrap().to_owned()
    }
}

/// The site of one instance.
pub(crate) struct Site<A>(A);

/// The site with default settings. Several sites over one store behave like several instances.
pub(crate) async fn site<S: Sessions>(
    sessions: &S,
) -> Site<impl Service<actix_http::Request, Response = ServiceResponse<BoxBody>, Error = Error> + use<S>> {
    site_with(sessions, &CookieSettings::default(), &[SECRET]).await
}

pub(crate) async fn site_with<S: Sessions>(
    sessions: &S,
    cookie: &CookieSettings,
    secrets: &[[u8; 64]],
) -> Site<impl Service<actix_http::Request, Response = ServiceResponse<BoxBody>, Error = Error> + use<S>> {
    let keys = SecretKeys::new(secrets).unwrap();
    let outside = (keys.clone(), cookie.name.clone());
    let app = App::new()
        .app_data(web::Data::new(sessions.clone()))
        .route("/", web::get().to(page))
        .route("/who", web::get().to(who))
        .route("/count", web::get().to(count))
        .route("/session", web::get().to(probe::<S>))
        .route("/ended-meanwhile", web::get().to(ended_meanwhile::<S>))
        .route("/login/{name}", web::post().to(log_in::<S>))
        .route("/external/{user}/{name}", web::post().to(log_in_external::<S>))
        .route("/end-user/{user}/{keep_out_s}", web::post().to(end_user::<S>))
        .route("/logout", web::post().to(log_out::<S>))
        .wrap(middleware(sessions.clone(), &keys, cookie, &LIFETIMES).unwrap())
        .wrap(from_fn(failures))
        .wrap_fn(move |mut request, next| {
            outside.0.sign_again(request.headers_mut(), &outside.1);
            next.call(request)
        });
    Site(init_service(app).await)
}

impl<A: Service<actix_http::Request, Response = ServiceResponse<BoxBody>, Error = Error>> Site<A> {
    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Answer {
        self.send(Method::GET, path, cookie).await
    }

    pub(crate) async fn post(&self, path: &str, cookie: &str) -> Answer {
        self.send(Method::POST, path, cookie).await
    }

    /// Logs in without a cookie and returns the new one.
    pub(crate) async fn log_in(&self, name: &str) -> String {
        let answer = self.post(&format!("/login/{name}"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.cookie()
    }

    async fn send(&self, method: Method, path: &str, cookie: &str) -> Answer {
        let mut request = TestRequest::with_uri(path).method(method);
        if !cookie.is_empty() {
            request = request.insert_header(("cookie", cookie));
        }
        let response = match self.0.call(request.to_request()).await {
            Ok(answer) => answer.into_parts().1,
            Err(error) => error.error_response(),
        };
        let set_cookie = response.headers().get("set-cookie").map(|line| line.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("body"));
        Answer { status, body: String::from_utf8(body.to_vec()).unwrap(), set_cookie }
    }
}

async fn failures(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match with_failure(next.call(request)).await {
        (Err(_), Some(SessionFailure::Unavailable)) => Err(ErrorServiceUnavailable("")),
        (Err(_), Some(SessionFailure::Ended)) => Err(ErrorUnauthorized("")),
        (answer, _) => answer.map(ServiceResponse::map_into_boxed_body),
    }
}

fn refusal(error: &SessionError) -> HttpResponse {
    match error {
        SessionError::Taken => HttpResponse::Conflict().finish(),
        SessionError::KeptOut(_) => HttpResponse::Forbidden().finish(),
        SessionError::Ended => HttpResponse::Unauthorized().finish(),
        SessionError::Unavailable(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// A page load.
async fn page(session: Session) -> impl Responder {
    rotate(&session);
    who(session).await
}

/// A request that reads the session and changes nothing.
async fn who(session: Session) -> HttpResponse {
    match principal(&session) {
        Some(principal) => HttpResponse::Ok().body(described(&principal)),
        None => HttpResponse::Unauthorized().finish(),
    }
}

/// A request that changes an embedder's own entry of the state.
async fn count(session: Session) -> HttpResponse {
    let count = session.get::<u32>("count").unwrap().unwrap_or(0) + 1;
    session.insert("count", count).unwrap();
    HttpResponse::Ok().body(count.to_string())
}

async fn probe<S: Sessions>(session: Session, sessions: web::Data<S>) -> HttpResponse {
    let Some(principal) = principal(&session) else { return HttpResponse::Unauthorized().finish() };
    match sessions.touch(&principal.sid).await {
        Ok(Some(left)) => {
            touch_cookie(&session);
            HttpResponse::Ok().body(left.as_millis().to_string())
        }
        Ok(None) => HttpResponse::Unauthorized().finish(),
        Err(error) => refusal(&error),
    }
}

/// A page load during which the session is ended elsewhere.
async fn ended_meanwhile<S: Sessions>(session: Session, sessions: web::Data<S>) -> impl Responder {
    sessions.end(&principal(&session).unwrap().sid).await.unwrap();
    page(session).await
}

async fn log_in<S: Sessions>(session: Session, sessions: web::Data<S>, name: web::Path<String>) -> HttpResponse {
    match login(&session, sessions.get_ref(), &name.parse().unwrap(), None).await {
        Ok(principal) => HttpResponse::Ok().body(described(&principal)),
        Err(error) => refusal(&error),
    }
}

async fn log_in_external<S: Sessions>(
    session: Session,
    sessions: web::Data<S>,
    path: web::Path<(String, String)>,
) -> HttpResponse {
    let (user, name) = path.into_inner();
    match login_external(&session, sessions.get_ref(), &user.parse().unwrap(), name.parse().ok().as_ref()).await {
        Ok(principal) => HttpResponse::Ok().body(described(&principal)),
        Err(error) => refusal(&error),
    }
}

/// Ends the sessions of a user and keeps the user out for some seconds, unless the number is `-`.
async fn end_user<S: Sessions>(sessions: web::Data<S>, path: web::Path<(String, String)>) -> HttpResponse {
    let (user, keep_out) = path.into_inner();
    let keep_out = keep_out.parse().ok().map(Duration::from_secs);
    match sessions.end_user(&user.parse().unwrap(), keep_out).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => refusal(&error),
    }
}

/// User, sid and, if there is one, display name.
fn described(Principal { sid, user, name }: &Principal) -> String {
    name.as_ref().map_or_else(|| format!("{user} {sid}"), |name| format!("{user} {sid} {name}"))
}

async fn log_out<S: Sessions>(session: Session, sessions: web::Data<S>) -> HttpResponse {
    match logout(&session, sessions.get_ref()).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => refusal(&error),
    }
}
