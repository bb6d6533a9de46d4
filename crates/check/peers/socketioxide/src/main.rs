//! A chat server with socketioxide and Redis; see ../../README.md. Environment: `PORT` and `REDIS_URL`.

use std::{convert::Infallible, env, error::Error};

use axum::{Router, routing::get};
use socketioxide::{
    SocketIo, TransportType,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
    handler::ConnectHandler,
};
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (port, redis) = (env::var("PORT")?, env::var("REDIS_URL")?);
    let adapter = RedisAdapterCtr::new_with_redis(&redis::Client::open(format!("{redis}?protocol=resp3"))?).await?;
    let (layer, io) = SocketIo::builder()
        .transports([TransportType::Websocket])
        .with_adapter::<RedisAdapter<_>>(adapter)
        .build_layer();
    io.ns("/", on_connect.with(with_handlers)).await?;
    let app = Router::new().route("/readyz", get(|| async { "ready" })).layer(layer);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn on_connect() {}

/// Registers the event handlers. It is a middleware because middlewares run before the client is connected, and the first
/// event of a client may arrive immediately after that.
async fn with_handlers<A: Adapter>(socket: SocketRef<A>) -> Result<(), Infallible> {
    socket.on("join", async |socket: SocketRef<A>, Data::<String>(room), ack: AckSender<A>| {
        socket.join(room);
        _ = ack.send("joined");
    });
    socket.on("leave", async |socket: SocketRef<A>, Data::<String>(room), ack: AckSender<A>| {
        socket.leave(room);
        _ = ack.send("left");
    });
    socket.on("send", async |socket: SocketRef<A>, Data::<(String, String)>((room, text)), ack: AckSender<A>| {
        // Sends to the whole room including the writer. Acknowledges only if Redis accepted the message.
        if socket.within(room).emit("message", &text).await.is_ok() {
            _ = ack.send("sent");
        }
    });
    Ok(())
}
