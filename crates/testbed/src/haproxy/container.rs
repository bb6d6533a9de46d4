//! HAProxy in Docker. The container uses the host's network, because the gateways listen on loopback.

use std::{fs, path::Path};

use testcontainers::{ContainerRequest, GenericImage, ImageExt, core::Mount};

use super::{BalancerServer, HaProxy, HaProxyBuilder, ask, socket};
use crate::{
    IoContext, Result, TestbedError,
    docker::{DockerContainer, DockerImage},
    ports,
};

const IMAGE: DockerImage = DockerImage("haproxy", "3.0-alpine");
/// Path in the container of the folder with configuration and socket.
const FOLDER: &str = "/trunkline";

/// Starts a container that listens on this loopback port.
pub(super) fn start(builder: &HaProxyBuilder, port: u16) -> Result<HaProxy> {
    if cfg!(not(target_os = "linux")) {
        // Docker Desktop runs containers in a virtual machine with its own loopback interface.
        return Err(TestbedError::Reply("HAProxy in Docker reaches gateways on loopback on Linux only".to_owned()));
    }
    if !ports::is_free(port) {
        return Err(TestbedError::PortTaken(port));
    }
    let folder = tempfile::Builder::new().prefix("testbed-lb-").tempdir().context("cannot create a folder")?;
    let config = folder.path().join("haproxy.cfg");
    fs::copy(&builder.config, &config).on_path("cannot copy", &builder.config)?;
    // The current user, because only the owner may use the folder and the socket in it.
    let user = format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let settings = |request: ContainerRequest<GenericImage>| {
        let request = request.with_cmd(["haproxy", "-db", "-f", &format!("{FOLDER}/haproxy.cfg")]);
        let request = request.with_network("host").with_user(user);
        // SELinux would deny access to the mounted folder.
        let request = request.with_security_opt("label=disable").with_cap_drop("ALL");
        let request = request.with_mount(Mount::bind_mount(folder.path().display().to_string(), FOLDER));
        let variables = builder.variables(port, &socket(Path::new(FOLDER)));
        variables.into_iter().fold(request, |request, (name, value)| request.with_env_var(name, value))
    };
    let mut container = DockerContainer::start(IMAGE, port, builder.log.clone(), settings)?;
    container.wait(|| ask(&socket(folder.path()), "show version").is_ok()).map_err(|e| match e {
        TestbedError::Start { log, .. } if log.contains("Address already in use") => TestbedError::PortTaken(port),
        other => other,
    })?;
    Ok(HaProxy { server: BalancerServer::Container(Box::new(container)), port, slots: builder.slots, folder })
}
