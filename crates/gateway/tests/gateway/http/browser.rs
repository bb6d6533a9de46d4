//! A browser on the level of HTTP: keeps the cookie of one site and sends the headers that browsers send.

use actix_http::Request;
use actix_web::{
    App, Error,
    body::{self, BoxBody, MessageBody},
    dev::{Service, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{HeaderMap, SET_COOKIE},
    },
    test::{TestRequest, init_service},
    web,
};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Config, Gateway};
use trunkline_session::Sessions;

/// The routes of a new gateway as a service without a port.
pub(crate) async fn site<S: Sessions>(
    sessions: S,
    config: Config,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody + 'static>, Error = Error> {
    let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config).unwrap();
    mounted(gateway).await
}

/// The routes of a given gateway as a service without a port.
pub(crate) async fn mounted<S: Sessions>(
    gateway: Gateway<LocalBus, S>,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody + 'static>, Error = Error> {
    let app = App::new().configure(move |config| gateway.routes(config));
    init_service(app.default_service(web::to(trunkline_gateway::not_found))).await
}

/// A received response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert!(json["detail"].is_string(), "{self:?}");
        json["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn is_login_page(&self) -> bool {
        self.header("content-type").starts_with("text/html")
            && self.body.contains("<form method=\"post\" action=\"/login\">")
    }

    pub(crate) fn is_chat_of(&self, user: &str) -> bool {
        self.status == 200 && self.body.contains(&format!("data-user=\"{user}\""))
    }

    pub(crate) fn cookies(&self) -> Vec<String> {
        self.headers.get_all(SET_COOKIE).map(|line| line.to_str().unwrap().to_owned()).collect()
    }
}

/// A request that is being built.
pub(crate) struct PendingRequest<'a> {
    browser: &'a mut Browser,
    request: TestRequest,
}

/// The session cookie is kept as `name=value`.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<String>,
}

const PAGES: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

impl Browser {
    /// Loads a page.
    pub(crate) fn get(&mut self, path: &str) -> PendingRequest<'_> {
        self.ask(Method::GET, path).header("accept", PAGES)
    }

    /// Sends a request like `fetch` in a script.
    pub(crate) fn fetch(&mut self, path: &str) -> PendingRequest<'_> {
        self.ask(Method::GET, path).header("accept", "*/*")
    }

    /// Submits a form.
    pub(crate) fn submit(&mut self, path: &str, form: &str) -> PendingRequest<'_> {
        self.ask(Method::POST, path)
            .header("accept", PAGES)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
    }

    /// Posts JSON like a program.
    pub(crate) fn post_json(&mut self, path: &str, json: &str) -> PendingRequest<'_> {
        self.ask(Method::POST, path).header("content-type", "application/json").body(json)
    }

    pub(crate) fn ask(&mut self, method: Method, path: &str) -> PendingRequest<'_> {
        let request = TestRequest::with_uri(path)
            .method(method)
            .peer_addr("192.0.2.1:4711".parse().unwrap())
            .insert_header(("host", "chat.example"));
        let request = match &self.cookie {
            Some(cookie) => request.insert_header(("cookie", cookie.as_str())),
            None => request,
        };
        PendingRequest { browser: self, request }
    }

    /// Logs in; the login must succeed.
    pub(crate) async fn log_in<A, B>(&mut self, site: &A, name: &str)
    where
        A: Service<Request, Response = ServiceResponse<B>, Error = Error>,
        B: MessageBody + 'static,
    {
        let answer = self.submit("/login", &format!("name={name}")).send(site).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    }
}

impl PendingRequest<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.insert_header((name, value));
        self
    }

    pub(crate) fn another(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.append_header((name, value));
        self
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.request = self.request.set_payload(body.to_owned());
        self
    }

    pub(crate) fn from(mut self, address: &str) -> Self {
        self.request = self.request.peer_addr(format!("{address}:4711").parse().unwrap());
        self
    }

    pub(crate) async fn send<A, B>(self, site: &A) -> Answer
    where
        A: Service<Request, Response = ServiceResponse<B>, Error = Error>,
        B: MessageBody + 'static,
    {
        let answer = site.call(self.request.to_request()).await.unwrap();
        let answer: ServiceResponse<BoxBody> = answer.map_into_boxed_body();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = body::to_bytes(answer.into_body()).await.unwrap();
        let answer = Answer { status, headers, body: String::from_utf8(bytes.to_vec()).unwrap() };
        for line in answer.cookies() {
            let pair = line.split(';').next().unwrap().to_owned();
            self.browser.cookie = if line.contains("Max-Age=0") { None } else { Some(pair) };
        }
        answer
    }
}
