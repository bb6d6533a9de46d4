//! The proxy between an echoing server and its client.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use trunkline_check::proxy::{Proxy, Settings, Weather};

async fn set_up() -> (Proxy, TcpStream) {
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
    let proxy = Proxy::start(&Settings { listen: "127.0.0.1:0".parse().unwrap(), to }).await.unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

async fn echo(client: &mut TcpStream, text: &[u8]) -> bool {
    client.write_all(text).await.unwrap();
    hears(client, text).await
}

async fn hears(client: &mut TcpStream, text: &[u8]) -> bool {
    let mut bytes = vec![0; text.len()];
    let read = timeout(Duration::from_millis(500), client.read_exact(&mut bytes)).await;
    matches!(read, Ok(Ok(_))) && bytes == text
}

#[tokio::test]
async fn nothing_gets_through_a_black_hole_and_everything_after_it() {
    let (proxy, mut client) = set_up().await;
    assert!(echo(&mut client, b"one").await);
    proxy.change(|weather| weather.blackhole = true);
    assert!(!echo(&mut client, b"two").await);
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(!echo(&mut late, b"late").await);
    proxy.change(|weather| *weather = Weather::default());
    assert!(hears(&mut client, b"two").await);
    assert!(hears(&mut late, b"late").await);
}

#[tokio::test]
async fn a_delay_delays() {
    let (proxy, mut client) = set_up().await;
    proxy.change(|weather| weather.delay = Duration::from_millis(100));
    let since = Instant::now();
    assert!(echo(&mut client, b"one").await);
    assert!(since.elapsed() >= Duration::from_millis(200), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_cut_resets_what_is_there_and_nothing_later() {
    let (proxy, mut client) = set_up().await;
    assert!(echo(&mut client, b"one").await);
    proxy.change(|weather| weather.cuts += 1);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(echo(&mut next, b"two").await);
}

#[tokio::test]
async fn an_end_is_passed_on() {
    let (_proxy, mut client) = set_up().await;
    assert!(echo(&mut client, b"one").await);
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}
