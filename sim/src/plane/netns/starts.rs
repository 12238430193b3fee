//! Processes of a world: ours, the proxy's binary, and what the machine itself runs for them.

use tokio::process::Command;

use super::{
    Options,
    ground::Program,
    peers::{PeerId, Start},
    wire::Order,
    world::{Runs, SECRET, World},
};
use crate::{dice::Dice, scenario::model::PublishVia};

impl World<'_> {
    fn start_ours(&mut self, start: Start) -> Result<PeerId, String> {
        let log = self.ground.folder().join("peers.log");
        let id = self.peers.start_ours(start, &log)?;
        self.unready.insert(id);
        if self.has_begun() {
            self.peers.order(id, Order::Begin { zero: self.zero });
        }
        Ok(id)
    }

    /// Returns whether the world's clock runs.
    pub(super) fn has_begun(&self) -> bool {
        self.zero > 0
    }

    pub(super) fn start_on_machine(&mut self, words: &[String]) -> Result<PeerId, String> {
        self.start_ours(self.as_ours(self.ground.on_machine(), words).into())
    }

    /// Completes a command that begins where a process of ours is to be.
    fn as_ours(&self, mut command: Command, words: &[String]) -> Command {
        command.arg(&self.options.us).arg("netns-peer").arg(&self.file).args(words);
        command
    }

    /// Starts what a host runs.
    fn start_program(&self, host: usize, program: Program) -> Result<Start, String> {
        let Options { us, repull, .. } = self.options;
        self.ground.start(self.hosts[host].port, program, (us, repull, &self.file), SECRET)
    }

    pub(super) fn start_host_process(&mut self, host: usize, words: &[String]) -> Result<PeerId, String> {
        let start = self.start_program(host, Program::Ours(words.to_vec()))?;
        let id = self.start_ours(start)?;
        self.owners.insert(id, host);
        Ok(id)
    }

    /// Somebody here is no model.
    pub(super) fn has_real_peers(&self) -> bool {
        self.hosts.iter().any(|host| matches!(&host.runs, Runs::Origin(origin) if origin.is_real))
    }

    pub(super) fn start_players(&mut self, host: usize) -> Result<(), String> {
        let words = ["players".to_owned(), host.to_string()];
        let id = self.start_host_process(host, &words)?;
        if let Runs::Players(players) = &mut self.hosts[host].runs {
            players.process = Some(id);
        }
        Ok(())
    }

    pub(super) fn start_aide(&mut self, host: usize) -> Result<(), String> {
        let port = self.hosts[host].port;
        let aide = self.as_ours(self.ground.beside(port)?, &["aide".to_owned()]);
        let id = self.start_ours(aide.into())?;
        self.owners.insert(id, host);
        self.ground.watch_flows(port)?;
        let log = self.ground.folder().join("flows.log");
        let flows = self.peers.start_flows(self.ground.beside(port)?.into(), &log)?;
        self.owners.insert(flows, host);
        if let Runs::Proxy(proxy) = &mut self.hosts[host].runs {
            (proxy.aide, proxy.flows) = (Some(id), Some(flows));
        }
        Ok(())
    }

    pub(super) fn start_repull(&mut self, host: usize) -> Result<(), String> {
        let name = self.cast.name(self.hosts[host].actor).to_owned();
        let Runs::Proxy(proxy) = &mut self.hosts[host].runs else { return Ok(()) };
        let mut settings = proxy.settings.clone();
        if settings.general.seed == 0 {
            // Its delays are those of plane `core`.
            settings.general.seed = Dice::seed_of_proxy(self.seed, proxy.place, proxy.lives);
        }
        proxy.lives += 1;
        let config = self.write_config(&name, &settings)?;
        let log = self.ground.folder().join(format!("{name}.log"));
        let start = self.start_program(host, Program::Repull(config))?;
        let id = self.peers.start_repull(start, &log)?;
        if let Runs::Proxy(proxy) = &mut self.hosts[host].runs {
            proxy.repull = Some(id);
        }
        self.owners.insert(id, host);
        Ok(())
    }

    /// Publishes a host's port where the scenario says so.
    pub(super) fn publish_port(&mut self, host: usize) -> Result<(), String> {
        let Some(of) = self.hosts[host].of else { return Ok(()) };
        let spec = &self.scenario.hosts[usize::from(of.0)];
        let Some(publish) = spec.publish else { return Ok(()) };
        self.ground.publish(self.hosts[host].port, publish)?;
        if let (PublishVia::DockerProxy, Some(machine), Some(ip)) =
            (publish.via, self.machine, self.hosts[host].ips.first())
        {
            for net in &self.scenario.nets {
                let listen = (net.gateway, publish.port).into();
                self.unready.insert(machine);
                self.peers.order(machine, Order::Forward { listen, to: (*ip, publish.port).into() });
            }
        }
        Ok(())
    }
}
