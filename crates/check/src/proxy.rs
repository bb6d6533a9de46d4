//! A TCP proxy that breaks connections on demand, for the faults that no process can be made to have.
//!
//! Orders come on standard input, a line each, and are answered with a line of JSON on standard output:
//!
//! | order | does |
//! | --- | --- |
//! | `blackhole` | passes nothing on, in either direction, and closes nothing: the network drops everything |
//! | `delay TIME` | passes every piece on that much later, as `delay 200ms` |
//! | `heal` | ends both |
//! | `cut` | resets every connection of now |
//!
//! Bounds: 16 KiB a connection and direction; who sends more while nothing is passed on is held by TCP.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    time::sleep,
};

use crate::Error;

/// Bytes that one direction of a connection holds.
const PIECE: usize = 16 * 1024;

/// From where to where.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where to listen; port 0 picks one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where to pass connections on to.
    #[arg(long, value_name = "ADDR")]
    pub to: SocketAddr,
}

/// What the network is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Nothing gets through.
    pub blackhole: bool,
    /// Everything takes that much longer.
    pub delay: Duration,
    /// Goes up with every cut: connections made under a smaller number are reset.
    pub cuts: u64,
}

/// A proxy at work; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts one.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub async fn start(settings: &Settings) -> Result<Self, Error> {
        let failed = |source| Error::Network { doing: format!("listen on {}", settings.listen), source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(|source| Error::Network { doing: "listen".to_owned(), source })?;
        let weather = Arc::new(watch::channel(Weather::default()).0);
        let (to, shared) = (settings.to, weather.clone());
        let accepting = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(connect(client, to, shared.subscribe()))),
                    // Out of file descriptors, most likely: that passes.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Ok(Self { address, weather, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.weather.send_modify(|weather| weather.cuts += 1);
    }
}

/// Runs a proxy until standard input ends.
///
/// # Errors
/// As [`Proxy::start`].
pub async fn serve(settings: &Settings) -> Result<(), Error> {
    let proxy = Proxy::start(settings).await?;
    println!("{}", serde_json::json!({"listening": proxy.address().to_string()}));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(order)) = orders.next_line().await {
        let done = obey(&proxy, order.trim());
        println!("{}", serde_json::json!({"order": order.trim(), "done": done}));
    }
    Ok(())
}

/// False where the order is none.
fn obey(proxy: &Proxy, order: &str) -> bool {
    match order.split_once(' ').unwrap_or((order, "")) {
        ("blackhole", "") => proxy.change(|weather| weather.blackhole = true),
        ("heal", "") => proxy.change(|weather| *weather = Weather { cuts: weather.cuts, ..Weather::default() }),
        ("cut", "") => proxy.change(|weather| weather.cuts += 1),
        ("delay", time) => match humantime::parse_duration(time) {
            Ok(delay) => proxy.change(|weather| weather.delay = delay),
            Err(_) => return false,
        },
        _ => return false,
    }
    true
}

async fn connect(mut client: TcpStream, to: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let cuts = weather.borrow().cuts;
    let mut watching = weather.clone();
    let open = async {
        // In a black hole connecting hangs, too: the kernel has accepted, but nobody answers.
        weather.wait_for(|weather| !weather.blackhole).await.ok()?;
        TcpStream::connect(to).await.ok()
    };
    let server = tokio::select! {
        server = open => server,
        () = cut(&mut watching, cuts) => None,
    };
    let Some(mut server) = server else { return reset(client) };
    // Not to be had on a connection that is broken already, which shows below.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let broken = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let up = pass(client_read, server_write, weather.clone());
        let down = pass(server_read, client_write, weather);
        tokio::select! {
            passed = async { tokio::try_join!(up, down) } => passed.is_err(),
            () = cut(&mut watching, cuts) => true,
        }
    };
    if broken {
        reset(client);
        reset(server);
    }
}

/// Until the connections of before are cut, or the proxy is gone, which cuts them as well.
async fn cut(weather: &mut watch::Receiver<Weather>, cuts: u64) {
    let _ = weather.wait_for(|weather| weather.cuts != cuts).await;
}

/// Passes one direction on, a piece at a time, until its end.
async fn pass(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // The end of a connection does not get through a black hole either.
        weather.wait_for(|weather| !weather.blackhole).await.map_err(io::Error::other)?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// Ends a connection as a crashed peer's kernel does.
fn reset(stream: TcpStream) {
    // Without this it ends in order: less than asked for, but an end.
    let _ = stream.set_zero_linger();
    drop(stream);
}
