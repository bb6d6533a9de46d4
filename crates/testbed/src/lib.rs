//! Real servers for tests and for `cargo xtask`: Redis, HAProxy, the gateway's own binary, a browser.
//!
//! Everything is synchronous (`std::process` and threads), so it works inside any test, async or not. Everything
//! listens on a free loopback port, keeps its data in a folder of its own, and is ended on drop; should the test
//! process itself be killed, a small guard process ends what it left.
//!
//! ```no_run
//! use trunkline_testbed::{AppendFsync, Redis};
//!
//! # fn main() -> Result<(), trunkline_testbed::TestbedError> {
//! let redis = Redis::start()?; // shared settings: no persistence, no password
//! println!("{} {:?}", redis.url(), redis.cli(&["PING"])?);
//!
//! let mut durable = Redis::builder().append_only(AppendFsync::Always).password("hunter2").start()?;
//! durable.cli(&["SET", "k", "v"])?;
//! durable.kill()?; // SIGKILL
//! durable.restart()?; // same port, same data
//! assert_eq!(durable.cli(&["GET", "k"])?, "v");
//! durable.restart_empty()?; // same port, no data
//! durable.pause()?; // SIGSTOP …
//! durable.resume()?; // … SIGCONT
//! # Ok(())
//! # }
//! ```
//!
//! A gateway behind the balancer, and a browser to look at it:
//!
//! ```no_run
//! use trunkline_testbed::{ChromeDriver, Gateway, HaProxy, Redis};
//!
//! # fn main() -> Result<(), trunkline_testbed::TestbedError> {
//! let (redis, balancer) = (Redis::start()?, HaProxy::start()?); // deploy/haproxy.cfg, all slots empty
//! # let trunkline = "target/debug/trunkline";
//! // In the gateway's own tests: `let trunkline = env!("CARGO_BIN_EXE_trunkline");`
//! let gateway = Gateway::builder(trunkline).instance("gw-1").redis(redis.url()).args(["--login-rate", "0"]);
//! let mut gateway = gateway.start()?; // has printed `listening on …`
//! balancer.fill_slot(1, gateway.port().expect("it listens"))?;
//! println!("{} is {:?} or {}", balancer.url(), gateway.url(), gateway.pid());
//! gateway.terminate()?; // SIGTERM; also kill(), pause(), resume(), wait(…)
//!
//! let driver = ChromeDriver::start()?;
//! println!("{} takes {}", driver.url(), driver.capabilities()); // for fantoccini, thirtyfour, …
//! # Ok(())
//! # }
//! ```
//!
//! Tests that drive a browser live in an integration test named `browser` with `test = false` in its manifest:
//! `cargo xtask test` finds them by that name.
//!
//! # Where programs come from
//! In this order: a Redis that is given by `TRUNKLINE_TEST_REDIS`; a program on `PATH`; a copy unpacked earlier under
//! `target/tools`; on Debian and Ubuntu the distribution's packages, unpacked there without root and without touching
//! the system; Docker by Testcontainers (feature `testcontainers`; `cargo xtask-docker` has it); else an error that names
//! the commands which install it.
//! See [`Toolbox`].

mod apt;
mod browser;
mod cargo;
mod console;
#[cfg(feature = "testcontainers")]
mod docker;
mod engine;
mod error;
mod gateway;
mod guard;
mod haproxy;
mod http;
mod ports;
mod process;
mod progress;
mod redis;
mod resp;
mod sentinel;
mod stop;
mod tools;

pub use browser::{Browser, ChromeDriver};
pub use cargo::{WorkspaceProgram, cargo};
pub use console::{Console, ConsoleProgress};
pub use engine::docker_answers;
pub use error::{IoContext, Result, TestbedError};
pub use gateway::{Gateway, GatewayBuilder};
pub use haproxy::{HaProxy, HaProxyBuilder, SlotState};
pub use http::{HttpAnswer, http_get, http_post};
pub use ports::free_port;
pub use process::{LineSink, OutputLine, OutputStream, Process, ProcessEnd};
pub use progress::{NoProgress, Progress};
pub use redis::{AppendFsync, Redis, RedisBuilder};
pub use sentinel::{RedisSentinel, RedisSentinelBuilder};
pub use stop::StopSignal;
pub use tools::{Program, Tool, Toolbox, fake_time, project_root};
