//! A TCP proxy that impairs connections on command, for network faults that no process can produce.
//!
//! Commands arrive on standard input, one per line. Each is answered with a line of JSON on standard output.
//!
//! | command | effect |
//! | --- | --- |
//! | `blackhole` | forwards nothing in either direction and closes nothing, as a network that drops all packets |
//! | `delay TIME` | forwards each chunk after this additional time, for example `delay 200ms` |
//! | `heal` | ends `blackhole` and `delay` |
//! | `stall` | forwards nothing more on current connections and closes none of them, as a firewall that forgot them; new ones work |
//! | `cut` | resets every current connection |
//!
//! The proxy holds at most 16 KiB per connection and direction. While it forwards nothing, TCP flow control stops the sender.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    time::sleep,
};

use crate::{CheckError, output::print_json};

/// Largest chunk that one direction of a connection holds, in bytes: 16 KiB.
const CHUNK_BYTES: usize = 16 * 1024;
/// Time to wait after a failed `accept`. The usual cause, a lack of file descriptors, passes.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Addresses of a proxy.
#[derive(Clone, Debug, Args)]
pub struct ProxySettings {
    /// Address to listen on. Port 0 chooses a free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Address to forward connections to.
    #[arg(long, value_name = "ADDR")]
    pub to: SocketAddr,
}

/// Impairment of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkImpairment {
    /// Nothing is forwarded.
    pub blackhole: bool,
    /// Additional time for each chunk.
    pub delay: Duration,
    /// Number of cuts so far. A cut resets the connections that were accepted under a smaller number.
    pub cuts: u64,
    /// Number of stalls so far. Connections that were accepted under a smaller number forward nothing.
    pub stalls: u64,
}

/// A running proxy. Dropping it resets its connections and closes its listener.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    impairment: Arc<watch::Sender<NetworkImpairment>>,
    accept_task: tokio::task::JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy without impairment.
    ///
    /// # Errors
    /// [`CheckError::System`] if the proxy cannot listen on the address.
    pub async fn start(settings: &ProxySettings) -> Result<Self, CheckError> {
        let failed = |source| CheckError::System { action: format!("listen on {}", settings.listen), source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let impairment = Arc::new(watch::channel(NetworkImpairment::default()).0);
        let (to, shared) = (settings.to, impairment.clone());
        let accept_task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(forward(client, to, shared.subscribe()))),
                    Err(_) => sleep(ACCEPT_RETRY_DELAY).await,
                }
            }
        });
        Ok(Self { address, impairment, accept_task })
    }

    /// Returns the address that the proxy listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the impairment.
    pub fn change(&self, change: impl FnOnce(&mut NetworkImpairment)) {
        self.impairment.send_modify(change);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accept_task.abort();
        self.impairment.send_modify(|impairment| impairment.cuts += 1);
    }
}

/// Runs a proxy until standard input ends. Prints its address, then executes commands.
///
/// # Errors
/// As [`FaultProxy::start`].
pub async fn serve(settings: &ProxySettings) -> Result<(), CheckError> {
    let proxy = FaultProxy::start(settings).await?;
    print_json(&json!({"listening": proxy.address().to_string()}));
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(command)) = commands.next_line().await {
        let done = execute(&proxy, command.trim());
        print_json(&json!({"order": command.trim(), "done": done}));
    }
    Ok(())
}

/// Executes a command. Returns false if it is unknown.
fn execute(proxy: &FaultProxy, command: &str) -> bool {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("blackhole", "") => proxy.change(|impairment| impairment.blackhole = true),
        ("heal", "") => proxy.change(|impairment| {
            (impairment.blackhole, impairment.delay) = (false, Duration::ZERO);
        }),
        ("stall", "") => proxy.change(|impairment| impairment.stalls += 1),
        ("cut", "") => proxy.change(|impairment| impairment.cuts += 1),
        ("delay", time) => match humantime::parse_duration(time) {
            Ok(delay) => proxy.change(|impairment| impairment.delay = delay),
            Err(_) => return false,
        },
        _ => return false,
    }
    true
}

/// Connects a client to the server and forwards both directions until one side ends or the connection is cut.
async fn forward(mut client: TcpStream, to: SocketAddr, mut impairment: watch::Receiver<NetworkImpairment>) {
    let cuts = impairment.borrow().cuts;
    let mut cut_receiver = impairment.clone();
    let connect = async {
        // In a black hole connecting hangs as well: the kernel has accepted the client, but no server answers.
        impairment.wait_for(|impairment| !impairment.blackhole).await.ok()?;
        TcpStream::connect(to).await.ok()
    };
    let server = tokio::select! {
        server = connect => server,
        () = wait_for_cut(&mut cut_receiver, cuts) => None,
    };
    let Some(mut server) = server else { return reset(client) };
    // Fails only on a connection that is already broken, which the next read reports.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let broken = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let up = forward_direction(client_read, server_write, impairment.clone());
        let down = forward_direction(server_read, client_write, impairment);
        tokio::select! {
            done = async { tokio::try_join!(up, down) } => done.is_err(),
            () = wait_for_cut(&mut cut_receiver, cuts) => true,
        }
    };
    if broken {
        reset(client);
        reset(server);
    }
}

/// Completes when the number of cuts is no longer `cuts`, or when the proxy is dropped.
async fn wait_for_cut(impairment: &mut watch::Receiver<NetworkImpairment>, cuts: u64) {
    let _ = impairment.wait_for(|impairment| impairment.cuts != cuts).await;
}

/// Forwards one direction chunk by chunk until the sender closes it.
async fn forward_direction(
    mut from: tcp::ReadHalf<'_>,
    mut to: tcp::WriteHalf<'_>,
    mut impairment: watch::Receiver<NetworkImpairment>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let stalls = impairment.borrow().stalls;
    loop {
        let length = from.read(&mut chunk).await?;
        let delay = impairment.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // The end of the stream (FIN) does not pass either.
        let passes = |impairment: &NetworkImpairment| !impairment.blackhole && impairment.stalls == stalls;
        impairment.wait_for(passes).await.map_err(io::Error::other)?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..length]).await?;
    }
}

/// Resets a connection (TCP RST), as the kernel does when a process crashes.
fn reset(stream: TcpStream) {
    // If this fails, the connection closes with FIN instead.
    let _ = stream.set_zero_linger();
    drop(stream);
}
