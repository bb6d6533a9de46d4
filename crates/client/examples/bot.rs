//! A bot that answers questions and reacts to thanks, in a room of a running deployment.
//!
//! ```sh
//! cargo run -p trunkline-client --example bot -- http://127.0.0.1:8080 lobby bot         # logs in under a name
//! TOKEN=eyJ… cargo run -p trunkline-client --example bot -- http://127.0.0.1:8080 lobby  # a token of your own service
//! ```

use std::{env, error::Error};

use trunkline_client::{Client, ClientEvent, ClientSession, ClientState, GatewayUrl};
use trunkline_domain::{Body, Content, Message, Room, Token};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, room, name @ ..] = &arguments[..] else { return Err("usage: bot URL ROOM [NAME]".into()) };
    let (url, room): (GatewayUrl, Room) = (url.parse()?, room.parse()?);
    let mut client = match name.first() {
        Some(name) => {
            let (session, user) = ClientSession::login(&url, name).await?;
            Client::new(session, user)
        }
        // Called for each connection and before a token expires. A service would ask its identity provider here.
        None => Client::new(ClientSession::with_tokens(&url, || async { Ok(Token::new(env::var("TOKEN")?)) }), None),
    };
    client.join(room.clone(), 0);
    loop {
        tokio::select! {
            event = client.next() => match event {
                ClientEvent::Message { message, own: false, .. } => answer(&mut client, &room, &message)?,
                ClientEvent::State(ClientState::Ended(reason)) => return Err(format!("not logged in: {reason:?}").into()),
                ClientEvent::State(state) => eprintln!("{state:?}"),
                ClientEvent::Refused { code, detail, .. } => eprintln!("{code:?}: {}", detail.unwrap_or_default()),
                _ => {}
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    client.close().await;
    Ok(())
}

/// Answers a question, reacts to thanks, and acknowledges the events of applications.
fn answer(client: &mut Client, room: &Room, message: &Message) -> Result<(), Box<dyn Error>> {
    match &message.body {
        Body::Content(Content::Text { text, .. }) => {
            if text.as_str().ends_with('?') {
                client.reply(room.clone(), message.pos, format!("{}, I will find out.", message.user).parse()?);
            } else if text.as_str().to_lowercase().contains("thank") {
                client.react(room.clone(), message.pos, "👍".parse()?, true);
            }
        }
        Body::Content(Content::Event { event, .. }) => {
            client.publish(room.clone(), "noted".parse()?, format!("{{\"event\":\"{event}\"}}").parse()?);
        }
        _ => {}
    }
    // Messages up to here need not be shown as unread on the bot's other devices.
    client.seen(room.clone(), message.pos);
    Ok(())
}
