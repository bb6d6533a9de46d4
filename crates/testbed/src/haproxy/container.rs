//! A HAProxy in Docker. It shares the host's network: the gateways that it has to reach listen on loopback.

use std::{fs, path::Path};

use testcontainers::{ContainerRequest, GenericImage, ImageExt, core::Mount};

use super::{BalancerServer, HaProxy, HaProxyBuilder, ask, socket};
use crate::{
    IoContext, Result, TestbedError,
    docker::{Container, Image},
    ports,
};

const IMAGE: Image = Image("haproxy", "3.0-alpine");
/// Where the container sees our folder, which holds its configuration and its socket.
const FOLDER: &str = "/trunkline";

/// Starts it on this loopback port.
pub(super) fn start(builder: &HaProxyBuilder, port: u16) -> Result<HaProxy> {
    if cfg!(not(target_os = "linux")) {
        // Docker Desktop's containers are in a virtual machine, and so is the network that they could share.
        return Err(TestbedError::Reply("HAProxy in Docker would not reach the gateways, except on Linux".to_owned()));
    }
    if !ports::is_free(port) {
        return Err(TestbedError::PortTaken(port));
    }
    let folder = tempfile::Builder::new().prefix("testbed-lb-").tempdir().context("cannot create a folder")?;
    let config = folder.path().join("haproxy.cfg");
    fs::copy(&builder.config, &config).on_path("cannot copy", &builder.config)?;
    // As we: the folder, and the socket in it, are only for their owner.
    let user = format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let settings = |request: ContainerRequest<GenericImage>| {
        let request = request.with_cmd(["haproxy", "-db", "-f", &format!("{FOLDER}/haproxy.cfg")]);
        let request = request.with_network("host").with_user(user);
        // SELinux would keep the container from our folder.
        let request = request.with_security_opt("label=disable").with_cap_drop("ALL");
        let request = request.with_mount(Mount::bind_mount(folder.path().display().to_string(), FOLDER));
        let variables = builder.variables(port, &socket(Path::new(FOLDER)));
        variables.into_iter().fold(request, |request, (name, value)| request.with_env_var(name, value))
    };
    let mut container = Container::start(IMAGE, port, builder.log.clone(), settings)?;
    container.wait(|| ask(&socket(folder.path()), "show version").is_ok()).map_err(|e| match e {
        TestbedError::Start { log, .. } if log.contains("RedisAddress already in use") => TestbedError::PortTaken(port),
        other => other,
    })?;
    Ok(HaProxy { server: BalancerServer::Container(Box::new(container)), port, slots: builder.slots, folder })
}
