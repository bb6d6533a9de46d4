//! Tests of the HTTP table in docs/PROTOCOL.md, with both session stores.

mod attacks;
mod browser;
mod login;
mod outage;
mod pages;
mod socket;

use trunkline_session::{Lifetimes, MemorySessions, RedisSessions, Sessions};
use trunkline_testbed::Redis;

/// Runs each of these `async fn(impl Sessions)` with sessions in memory and in a real Redis server.
macro_rules! over_both_stores {
    ($($test:ident),* $(,)?) => {
        mod in_memory {
            $(#[actix_web::test]
            async fn $test() {
                super::$test(crate::http::in_memory()).await;
            })*
        }
        mod in_redis {
            $(#[actix_web::test]
            async fn $test() {
                let redis = trunkline_testbed::Redis::start().unwrap();
                super::$test(crate::http::in_redis(&redis)).await;
            })*
        }
    };
}
use over_both_stores;

fn in_memory() -> impl Sessions {
    MemorySessions::in_memory(Lifetimes::default())
}

/// Uses a random prefix, because tests may share the Redis server.
fn in_redis(redis: &Redis) -> impl Sessions + use<> {
    let prefix = format!("test-{}", rand::random::<u64>());
    RedisSessions::in_redis(&redis.url(), &prefix, Lifetimes::default()).unwrap()
}
