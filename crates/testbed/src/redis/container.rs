//! A Redis in Docker.

use testcontainers::{
    ImageExt,
    bollard::models::{HostConfig, PortBinding},
};

use super::{Redis, RedisBuilder, RedisServer};
use crate::{
    Result, TestbedError,
    docker::{Container, Image},
    ports,
    resp::RedisAddress,
};

const IMAGE: Image = Image("redis", "7-alpine");
/// Inside the container.
const PORT: u16 = 6379;

/// A container and what it was started with. Its data is in the container: [`RedisBuilder::folder`] says nothing here.
#[derive(Debug)]
pub(super) struct RedisContainer {
    container: Container,
    builder: RedisBuilder,
    address: RedisAddress,
}

/// Starts a server that is reached at this port, on loopback only.
pub(super) fn start(builder: RedisBuilder, port: u16) -> Result<Redis> {
    if builder.replica_of.is_some() {
        return Err(TestbedError::Reply("a replica in Docker would not reach its master on loopback".to_owned()));
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
    pub(super) fn container(&mut self) -> &mut Container {
        &mut self.container
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.container.restart()?;
        self.container.wait(|| answers(&self.address))
    }

    pub(super) fn restart_empty(&mut self) -> Result<()> {
        // The port has to be free before another can have it.
        self.container.remove()?;
        self.container = launch(&self.builder, &self.address)?;
        Ok(())
    }
}

fn launch(builder: &RedisBuilder, address: &RedisAddress) -> Result<Container> {
    let mut args = vec!["redis-server".to_owned()];
    // Inside, the loopback interface is not the one that Docker forwards to.
    args.extend(builder.arguments("0.0.0.0", PORT));
    args.extend(["--protected-mode".to_owned(), "no".to_owned()]);
    let host_port = address.port.to_string();
    let publish = move |config: &mut HostConfig| {
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(host_port.clone()) };
        config.port_bindings = Some([(format!("{PORT}/tcp"), Some(vec![binding]))].into());
        // Else whatever the image exposes is published to everybody.
        config.publish_all_ports = Some(false);
    };
    let settings =
        |request: testcontainers::ContainerRequest<_>| request.with_cmd(args).with_host_config_modifier(publish);
    let mut container = Container::start(IMAGE, address.port, builder.log.clone(), settings)?;
    container.wait(|| answers(address))?;
    Ok(container)
}

fn answers(address: &RedisAddress) -> bool {
    address.call(&["PING"]).is_ok()
}
