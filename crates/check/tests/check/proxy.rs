//! The proxy between a client and an echo server.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use trunkline_check::proxy::{FaultProxy, NetworkImpairment, ProxySettings};

async fn set_up() -> (FaultProxy, TcpStream) {
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let proxy = FaultProxy::start(&ProxySettings { listen: "127.0.0.1:0".parse().unwrap(), to }).await.unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

async fn echo(client: &mut TcpStream, text: &[u8]) -> bool {
    client.write_all(text).await.unwrap();
    receives(client, text).await
}

async fn receives(client: &mut TcpStream, text: &[u8]) -> bool {
    let mut bytes = vec![0; text.len()];
    let read = timeout(Duration::from_millis(500), client.read_exact(&mut bytes)).await;
    matches!(read, Ok(Ok(_))) && bytes == text
}

#[tokio::test]
async fn black_hole_holds_bytes_back_until_it_ends() {
    let (proxy, mut client) = set_up().await;
    assert!(echo(&mut client, b"one").await);
    proxy.change(|impairment| impairment.blackhole = true);
    assert!(!echo(&mut client, b"two").await);
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(!echo(&mut late, b"late").await);
    proxy.change(|impairment| *impairment = NetworkImpairment::default());
    assert!(receives(&mut client, b"two").await);
    assert!(receives(&mut late, b"late").await);
}

#[tokio::test]
async fn delay_applies_in_both_directions() {
    let (proxy, mut client) = set_up().await;
    proxy.change(|impairment| impairment.delay = Duration::from_millis(100));
    let since = Instant::now();
    assert!(echo(&mut client, b"one").await);
    assert!(since.elapsed() >= Duration::from_millis(200), "{:?}", since.elapsed());
}

#[tokio::test]
async fn cut_resets_current_connections_but_not_later_ones() {
    let (proxy, mut client) = set_up().await;
    assert!(echo(&mut client, b"one").await);
    proxy.change(|impairment| impairment.cuts += 1);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echo(&mut next, b"two").await);
}

#[tokio::test]
async fn end_of_stream_is_forwarded() {
    let (_proxy, mut client) = set_up().await;
    assert!(echo(&mut client, b"one").await);
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}
