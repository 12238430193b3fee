//! The kernel's packets, kept: `tcpdump` on every bridge, and afterwards one pcapng with the scenario's faults as packet
//! comments, as of the simulated network.

use std::{
    fs::File,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use pcap_file::pcap::PcapReader;
use proxy_core::time::Instant;

use super::{tools::find, world::World};
use crate::{
    scenario,
    trace::{ActorId, Logged, Namespace, Packet, PacketFate, Record, What},
    view,
    world::Outcome,
};

/// The header of an Ethernet frame; IPv4 is all that is kept.
const ETHERNET: usize = 14;

/// Returns the command line that captures a bridge into a file.
///
/// # Errors
/// The program is missing.
fn command(device: &str, file: &Path) -> Result<Vec<String>, String> {
    let Some(tcpdump) = find("tcpdump") else {
        return Err("--pcap needs tcpdump; on Debian: apt-get install tcpdump".to_owned());
    };
    let words =
        ["-i", device, "-p", "-n", "-U", "-s", "0", "--time-stamp-precision=nano", "-Z", "root", "-w"];
    let mut command = vec![tcpdump.display().to_string()];
    // Without the bridge's promiscuity it would see its own packets alone.
    command.extend(words.iter().filter(|word| **word != "-p").map(ToString::to_string));
    command.push(file.display().to_string());
    command.push("ip or ip6".to_owned());
    Ok(command)
}

/// Reads captures as records, each packet where its sender's address belongs. Times before `zero`, in nanoseconds since
/// 1970, are the beginning.
///
/// # Errors
/// A file cannot be read.
fn read(files: &[PathBuf], namespaces: &[Namespace], zero: u64) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    for file in files {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let opened = File::open(file).map_err(|error| named(&error))?;
        let mut reader = PcapReader::new(opened).map_err(|error| named(&error))?;
        // The last packet of a capture that was ended may be cut off.
        while let Some(Ok(packet)) = reader.next_packet() {
            let Some(bytes) = packet.data.get(ETHERNET..) else { continue };
            let Some(Ok(source)) = bytes.get(12..16).map(<[u8; 4]>::try_from) else { continue };
            let at = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX).saturating_sub(zero);
            let host = owner(Ipv4Addr::from(source), namespaces);
            let packet = Packet { host, outgoing: true, fate: PacketFate::Passed, bytes: bytes.to_vec() };
            records.push(Record {
                step: 0,
                at: Instant::from_nanos(at),
                actor: ActorId::WORLD,
                cause: 0,
                line: 0,
                hash: 0,
                what: What::Packet(packet),
            });
        }
    }
    Ok(records)
}

/// Returns whose address it is; the machine's, the last one, if nobody else has it.
fn owner(ip: Ipv4Addr, namespaces: &[Namespace]) -> u16 {
    let owner = namespaces.iter().position(|namespace| namespace.addresses.contains(&ip));
    u16::try_from(owner.unwrap_or(namespaces.len().saturating_sub(1))).unwrap_or(u16::MAX)
}

/// Lays two lists of records into one order of time.
fn merged(records: Vec<Record>, packets: Vec<Record>) -> Vec<Record> {
    let mut all = records;
    all.extend(packets);
    all.sort_by_key(|record| record.at);
    all
}

impl World<'_> {
    /// Starts to capture what crosses every network.
    pub(super) fn start_captures(&mut self) -> Result<(), String> {
        for net in 0..self.scenario.nets.len() {
            let device = self.ground.bridge(net)?;
            let file = self.ground.folder().join(format!("{device}.pcap"));
            let words = command(&device, &file)?;
            let (machine, log) = (self.ground.on_machine(), self.ground.folder().join("tcpdump.log"));
            let id = self.peers.start_program(machine.into(), &words, &log)?;
            self.captures.push((id, file));
        }
        Ok(())
    }

    /// Writes what was captured for Wireshark, with the scenario's faults as comments.
    pub(super) fn write_capture(&self, folder: &Path, outcome: &Outcome) -> Result<(), String> {
        let files: Vec<PathBuf> = self.captures.iter().map(|(_, file)| file.clone()).collect();
        let mut cast = outcome.cast.clone();
        let addresses = self.scenario.nets.iter().map(|net| net.gateway).collect();
        cast.namespaces.push(Namespace { name: "machine".to_owned(), addresses });
        let packets = read(&files, &cast.namespaces, self.zero)?;
        let records = outcome.log.iter().flat_map(|log| log.records()).collect();
        let logged = Logged {
            scenario: self.scenario.id.clone(),
            text: scenario::print(self.scenario),
            seed: self.seed,
            cast,
            records: merged(records, packets),
        };
        let bytes = view::pcapng(&logged).map_err(|error| error.to_string())?;
        let file = folder.join(format!("{}.pcapng", self.scenario.id));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&file, bytes))
            .map_err(|error| format!("{}: {error}", file.display()))
    }
}
