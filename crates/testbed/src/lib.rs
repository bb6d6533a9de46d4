//! Real servers for tests and development commands: Redis, HAProxy, the gateway's program, a browser.
//!
//! All functions are synchronous (`std::process` and threads), so they work in async tests too. Each server listens on a
//! free loopback port, keeps its data in its own folder, and ends on drop. If the test process itself is killed, a small
//! guard process ends its servers.
//!
//! ```no_run
//! use trunkline_testbed::{AppendFsync, Redis};
//!
//! # fn main() -> Result<(), trunkline_testbed::TestbedError> {
//! let redis = Redis::start()?; // no persistence, no password
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
//! A gateway behind the load balancer, and a browser:
//!
//! ```no_run
//! use trunkline_testbed::{ChromeDriver, Gateway, HaProxy, Redis};
//!
//! # fn main() -> Result<(), trunkline_testbed::TestbedError> {
//! let (redis, balancer) = (Redis::start()?, HaProxy::start()?); // deploy/haproxy.cfg, all slots empty
//! # let trunkline = "target/debug/trunkline";
//! // In the gateway's own tests: `let trunkline = env!("CARGO_BIN_EXE_trunkline");`
//! let gateway = Gateway::builder(trunkline).instance("gw-1").redis(redis.url()).args(["--login-rate", "0"]);
//! let mut gateway = gateway.start()?; // returns when the gateway listens
//! balancer.fill_slot(1, gateway.port().expect("it listens"))?;
//! println!("{} is {:?} or {}", balancer.url(), gateway.url(), gateway.pid());
//! gateway.terminate()?; // SIGTERM; also kill(), pause(), resume(), wait(…)
//!
//! let driver = ChromeDriver::start()?;
//! println!("{} takes {}", driver.url(), driver.capabilities()); // for fantoccini, thirtyfour and other clients
//! # Ok(())
//! # }
//! ```
//!
//! Tests that drive a browser are integration tests named `browser` with `test = false` in their manifest. `cargo xtask
//! test` finds them by that name.
//!
//! The development commands (`cargo xtask cluster`, `trunkline-chaos`, `trunkline-bench`) also share [`Console`],
//! [`StopSignal`] and [`WorkspaceProgram`].
//!
//! # Where programs come from
//! The first of these: a Redis given by `TRUNKLINE_TEST_REDIS`; a program on `PATH`; a copy that was unpacked earlier to
//! `target/tools`; on Debian and Ubuntu, the distribution's packages, unpacked to `target/tools` without root privileges and
//! without changes to the system; a container, with the feature `testcontainers` (as in `cargo xtask-docker`). Otherwise
//! the error names the commands that install the program. See [`Toolbox`].

mod apt;
mod browser;
mod cargo;
mod cluster;
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
mod tls;
mod tools;

pub use browser::{Browser, ChromeDriver};
pub use cargo::{WorkspaceProgram, cargo};
pub use cluster::{ClusterNodeView, OpenSlot, RedisCluster, RedisClusterBuilder, SLOTS, key_slot};
pub use console::{Console, ConsoleProgress};
pub use engine::docker_answers;
pub use error::{IoContext, Result, TestbedError};
pub use gateway::{Gateway, GatewayCommand};
pub use haproxy::{HaProxy, HaProxyBuilder, SlotState};
pub use http::{HttpAnswer, http_get, http_post};
pub use ports::free_port;
pub use process::{LineSink, OutputLine, OutputStream, Process, ProcessEnd};
pub use progress::{NoProgress, Progress};
pub use redis::{AppendFsync, Redis, RedisBuilder};
pub use sentinel::{RedisSentinel, RedisSentinelBuilder};
pub use stop::StopSignal;
pub use tls::{ServerCertificate, TlsFiles};
pub use tools::{Program, Tool, Toolbox, fake_time, project_root};
