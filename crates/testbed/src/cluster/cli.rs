//! Runs `redis-cli --cluster`.

use std::time::Duration;

use super::RedisCluster;
use crate::{NoProgress, Process, Program, Result, TestbedError, Tool, Toolbox};

/// Maximum time of one command. 1,500 slots move in about 2 s.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs `redis-cli` with the arguments until it ends.
///
/// # Errors
/// Returns [`TestbedError::Command`] with its last lines if it fails or does not end within 120 s.
pub(super) fn run<'a>(cluster: &RedisCluster, args: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let server = match &cluster.builder.program {
        Some(program) => program.clone(),
        None => Toolbox::project().get(Tool::Redis, &NoProgress)?,
    };
    let args: Vec<&str> = args.into_iter().collect();
    let mut command = sibling(&server)?.command();
    if let Some(tls) = &cluster.builder.tls {
        let (certificate, key) = tls.client();
        command.arg("--tls").arg("--cacert").arg(tls.ca()).arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    command.args(&args);
    if let Some(password) = cluster.password() {
        // Not an argument: other users of the machine could read it.
        command.env("REDISCLI_AUTH", password);
    }
    let mut process = Process::spawn("redis-cli", command, None)?;
    let ended = process.wait(TIMEOUT);
    process.kill()?;
    process.finish_reading();
    if ended == Some(crate::ProcessEnd::Code(0)) {
        return Ok(());
    }
    let reason = ended.map_or_else(|| format!("no end within {} s", TIMEOUT.as_secs()), |ended| ended.to_string());
    Err(TestbedError::Command {
        command: format!("redis-cli {}", args.join(" ")),
        detail: format!("{reason}{}", process.last_lines()),
    })
}

/// The command-line client of the same installation: `redis-cli` beside `redis-server`, `valkey-cli` beside `valkey-server`.
fn sibling(server: &Program) -> Result<Program> {
    let name = server.path().file_name().unwrap_or_default().to_string_lossy().replace("-server", "-cli");
    server.with_name(&name).ok_or_else(|| Tool::Redis.not_found(format!("{} has no {name}\n", server.path().display())))
}
