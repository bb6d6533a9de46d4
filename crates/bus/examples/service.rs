//! A service without gateway: it publishes each line of its input to a room, and follows the room. Any number of them share a
//! room, also with gateways.
//!
//! ```sh
//! cargo run -p trunkline-bus --example service -- redis://127.0.0.1:6379 deploys web-1
//! ```

use std::{
    env,
    error::Error,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use trunkline_bus::{Bus, BusError, Delivery, ErrorKind, Range, RedisBus, RedisConfig, Subscriptions};
use trunkline_domain::{Body, Content, Draft, Entry, Position, Room, UserId, follows};

/// Entries per read of the log.
const PAGE_LENGTH: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, room, user] = &arguments[..] else { return Err("usage: service REDIS_URL ROOM NAME".into()) };
    let (room, user): (Room, UserId) = (room.parse()?, user.parse()?);
    let bus = RedisBus::new(RedisConfig::new(url.clone()))?;

    // The delivery of `Subscribed` leads to the first read.
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&room);
    let mut follower = Follower { bus: bus.clone(), room: room.clone(), head: Position::ORIGIN };
    let mut input = BufReader::new(stdin()).lines();
    let mut has_input = true;
    loop {
        tokio::select! {
            delivery = deliveries.recv() => follower.handle(delivery.ok_or("the bus has ended")?).await,
            line = input.next_line(), if has_input => match line? {
                Some(line) => match line.parse() {
                    Ok(text) => publish(&bus, &room, &user, text).await,
                    Err(error) => eprintln!("not sent: {error}"),
                },
                None => has_input = false,
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Publishes a text, and repeats it while it is not known whether the log contains it. The id makes that harmless.
async fn publish(bus: &impl Bus, room: &Room, user: &UserId, text: trunkline_domain::MessageText) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Ok(id) = now.as_nanos().to_string().parse() else { return };
    let draft = Draft::text(id, user.clone(), text);
    for _ in 0..5 {
        match bus.publish(room, draft.clone()).await {
            Ok(receipt) => return eprintln!("published at {}", receipt.pos),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                eprintln!("not known whether it is published, trying again: {error}");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return eprintln!("not published: {error}"),
        }
    }
}

/// Shows each entry of a room once and in order, whatever happens to deliveries.
struct Follower<B> {
    bus: B,
    room: Room,
    /// Position of the last entry that was shown. A service that must not miss entries while it is off stores it.
    head: Position,
}

impl<B: Bus> Follower<B> {
    async fn handle(&mut self, delivery: Delivery) {
        let is_contiguous = match &delivery {
            Delivery::Entry(_, entry) if entry.message.pos <= self.head => true,
            Delivery::Entry(_, entry) if follows(entry.prev, self.head) => {
                self.show(entry);
                true
            }
            Delivery::Entry(..) | Delivery::Subscribed(_) => false,
            Delivery::Ephemeral(..) | Delivery::Presence(..) => true,
        };
        if !is_contiguous && let Err(error) = self.read().await {
            // The next delivery leads to a new attempt; the bus announces with `Subscribed` when Redis is back.
            eprintln!("cannot read the log: {error}");
        }
    }

    /// Reads everything after the head.
    async fn read(&mut self) -> Result<(), BusError> {
        loop {
            let mut page = self.bus.read(&self.room, Range::After(self.head, PAGE_LENGTH)).await?;
            if !page.follows {
                println!("(older entries are no longer retained)");
                page = self.bus.read(&self.room, Range::Latest(PAGE_LENGTH)).await?;
                page.more = false;
            }
            page.entries.iter().for_each(|entry| self.show(entry));
            if !page.more {
                self.head = page.head;
                return Ok(());
            }
        }
    }

    fn show(&mut self, entry: &Entry) {
        self.head = entry.message.pos;
        match &entry.message.body {
            Body::Content(Content::Text { text, .. }) => println!("{}: {}", entry.message.user, text.as_str()),
            Body::Content(Content::Event { event, data }) => {
                println!("{}: {event} {}", entry.message.user, data.as_str());
            }
            _ => println!("{}: (an amendment)", entry.message.user),
        }
    }
}
