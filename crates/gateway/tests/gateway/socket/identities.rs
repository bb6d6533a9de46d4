//! Sockets of users that the host application supplies.

use std::time::{Duration, SystemTime};

use actix_web::HttpRequest;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error, client::IntoClientRequest as _},
};
use trunkline_gateway::{Config, HostUsers, Identity, Unidentified};

use super::{
    Site, Transport,
    client::{End, Person, TestSocket},
    generous, over_both_transports,
};

over_both_transports!(users_of_the_host_open_sockets, socket_of_a_host_user_closes_when_the_identity_ends);

/// Users of `x-user`, whose identities end at the time in ms after the request that `x-left` names.
fn host_users() -> HostUsers {
    HostUsers::new(async |request: &HttpRequest| {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let user = match header("x-user") {
            None => return Err(Unidentified::NotGiven),
            Some("busy") => return Err(Unidentified::Unavailable("the test says so".to_owned())),
            Some(user) => user.parse().map_err(|_| Unidentified::Invalid("not a user id".to_owned()))?,
        };
        let identity = Identity::new(user).named("Host".parse().unwrap());
        Ok(match header("x-left") {
            Some(left) => identity.until(SystemTime::now() + Duration::from_millis(left.parse().unwrap())),
            None => identity,
        })
    })
}

/// Opens a socket with these header lines. A refusal is returned with its status.
async fn open(site: &Site, headers: &[(&'static str, &str)]) -> Result<TestSocket, u16> {
    let mut request = format!("ws://127.0.0.1:{}/ws", site.port).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(TestSocket(socket)),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn users_of_the_host_open_sockets(transport: Transport) {
    let site = Site::start(transport, Config { host_users: Some(host_users()), ..generous() });
    let mut socket = open(&site, &[("x-user", "auth0|17")]).await.unwrap();
    let welcome = socket.next().await;
    assert_eq!((&welcome["user"], &welcome["name"]), (&json!("auth0|17"), &json!("Host")));
    assert_eq!(socket.join("lobby").await["type"], "joined");
    // The host may go by a cookie, so pages of other sites are refused.
    let foreign = [("x-user", "auth0|17"), ("origin", "https://evil.example")];
    assert_eq!(open(&site, &foreign).await.err(), Some(403));
    assert_eq!(open(&site, &[]).await.err(), Some(401));
    assert_eq!(open(&site, &[("x-user", "two words")]).await.err(), Some(401));
    assert_eq!(open(&site, &[("x-user", "busy")]).await.err(), Some(503));
    // A session decides before the host.
    assert_eq!(Person::log_in(&site, "ann").await.open().await.unwrap().next().await["user"], "ann");
}

async fn socket_of_a_host_user_closes_when_the_identity_ends(transport: Transport) {
    let site = Site::start(transport, Config { host_users: Some(host_users()), ..generous() });
    let started = SystemTime::now();
    let mut socket = open(&site, &[("x-user", "u"), ("x-left", "1500")]).await.unwrap();
    assert_eq!(socket.end().await, End::Close(4401));
    let after = started.elapsed().unwrap();
    // Expiries are rounded down to a second.
    assert!((Duration::from_millis(500)..Duration::from_millis(2600)).contains(&after), "{after:?}");
}
