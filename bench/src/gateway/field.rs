//! A cluster of Stepcast and those that are measured beside it, over one broker.

use std::{fs, net::SocketAddr};

use crate::{
    Setting,
    failure::{Explain as _, Failure, Result},
    gateway::{contender::Contender, producer::Producer},
    server::Server,
};

/// See the module. Dropping it ends them all.
pub(crate) struct Field {
    pub(crate) server: Server,
    /// The broker's URL.
    pub(crate) broker: String,
}

impl Field {
    /// Starts a cluster in a folder named `name`.
    pub(crate) fn start(setting: &Setting, name: &str) -> Result<Self> {
        let server = Server::start(setting, name)?;
        let file = server.data_dir().join("cluster/broker");
        let broker = fs::read_to_string(&file).explain(|| format!("{} cannot be read", file.display()))?;
        Ok(Self { server, broker: broker.trim().to_owned() })
    }

    /// The bare loop, the peer, and one of Stepcast's gateways, reached without the balancer as the others are.
    pub(crate) fn contenders(&self, setting: &Setting) -> Result<Vec<Contender>> {
        let peer = setting.peer.as_deref().ok_or_else(|| Failure("`--peer` is missing".to_owned()))?;
        Ok(vec![Contender::bare(&self.broker)?, Contender::peer(peer, &self.broker)?, self.gateway("north")?])
    }

    /// The gateway of this name.
    pub(crate) fn gateway(&self, name: &str) -> Result<Contender> {
        let file = self.server.data_dir().join("cluster").join(format!("{name}.place"));
        let text = fs::read_to_string(&file).explain(|| format!("{} cannot be read", file.display()))?;
        let place = text
            .trim()
            .split_once(' ')
            .and_then(|(pid, address)| Some((address.parse::<SocketAddr>().ok()?, pid.parse::<u32>().ok()?)));
        let (address, pid) = place.ok_or_else(|| Failure(format!("{} holds no place", file.display())))?;
        Ok(Contender::stepcast(address, pid, self.server.token.clone()))
    }

    pub(crate) fn producer(&self) -> Result<Producer> {
        Producer::connect(&self.broker)
    }
}
