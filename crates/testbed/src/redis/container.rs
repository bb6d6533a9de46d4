//! Redis in Docker.

use testcontainers::{
    ImageExt,
    bollard::models::{HostConfig, PortBinding},
};

use super::{Redis, RedisBuilder, RedisServer};
use crate::{
    Result, TestbedError,
    docker::{DockerContainer, DockerImage},
    ports,
    resp::RedisAddress,
};

const IMAGE: DockerImage = DockerImage("redis", "7-alpine");
/// The port inside the container.
const PORT: u16 = 6379;

/// A container and its settings. The data is in the container; [`RedisBuilder::folder`] has no effect.
#[derive(Debug)]
pub(super) struct RedisContainer {
    container: DockerContainer,
    builder: RedisBuilder,
    address: RedisAddress,
}

/// Starts a server that is reachable at this port on loopback only.
pub(super) fn start(builder: RedisBuilder, port: u16) -> Result<Redis> {
    if builder.replica_of.is_some() {
        return Err(TestbedError::Reply("a replica in Docker cannot reach its master on loopback".to_owned()));
    }
    if builder.tls.is_some() {
        return Err(TestbedError::Reply("Redis in Docker cannot read the certificates of this machine".to_owned()));
    }
    if !ports::is_free(port) {
        return Err(TestbedError::PortTaken(port));
    }
    let address = RedisAddress::local(port, builder.password.clone());
    let container = launch(&builder, &address)?;
    Ok(Redis {
        address: address.clone(),
        server: RedisServer::Container(Box::new(RedisContainer { container, builder, address })),
    })
}

impl RedisContainer {
    pub(super) fn container(&mut self) -> &mut DockerContainer {
        &mut self.container
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.container.restart()?;
        self.container.wait(|| answers(&self.address))
    }

    pub(super) fn restart_empty(&mut self) -> Result<()> {
        // The old container must release the port first.
        self.container.remove()?;
        self.container = launch(&self.builder, &self.address)?;
        Ok(())
    }
}

fn launch(builder: &RedisBuilder, address: &RedisAddress) -> Result<DockerContainer> {
    let mut args = vec!["redis-server".to_owned()];
    // Docker forwards connections to the container's external interface, not to its loopback interface.
    args.extend(builder.arguments("0.0.0.0", PORT));
    args.extend(["--protected-mode".to_owned(), "no".to_owned()]);
    let host_port = address.port.to_string();
    let publish = move |config: &mut HostConfig| {
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host_port.clone()) };
        config.port_bindings = Some([(format!("{PORT}/tcp"), Some(vec![binding]))].into());
        // By default Docker publishes all exposed ports on all interfaces.
        config.publish_all_ports = Some(false);
    };
    let settings =
        |request: testcontainers::ContainerRequest<_>| request.with_cmd(args).with_host_config_modifier(publish);
    let mut container = DockerContainer::start(IMAGE, address.port, builder.log.clone(), settings)?;
    container.wait(|| answers(address))?;
    Ok(container)
}

fn answers(address: &RedisAddress) -> bool {
    address.call(&["PING"]).is_ok()
}
