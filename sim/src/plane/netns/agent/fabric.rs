//! Cables that the kernel cannot make: late, lossy, narrow, out of order.
//!
//! ```text
//!   host ── eth0 (TAP) ── this process: a simulated link each way ── v0 (TAP) ── bridge
//! ```
//! A cable is two TAP devices and what is between them is [`crate::net::link`], the same links, with dice of the same
//! kind, as on the simulated network; what they carry are the kernel's packets, in the kernel's time.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use proxy_core::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tun::Tun;

use super::{Orders, tell};
use crate::{
    net::{
        LinkSpec,
        link::{Link, Rolls},
        packet::{IP_HEADER, Parsed, Unreachable, parse, write_unreachable},
    },
    plane::netns::{
        cables::is_kernels,
        wire::{News, Order},
    },
    scenario::model::{Act, Fault, HostRef, Scenario},
    world::faults::{LinkPart, link_of, link_part, suffering},
};

/// The header of an Ethernet frame.
const ETHERNET: usize = 14;
/// The type of frames that hold IPv4; all others pass untouched.
const IPV4: [u8; 2] = [0x08, 0x00];
/// The longest frame.
const FRAME_BYTES_MAX: usize = 65_536;
/// Frames that may wait on one cable; more are lost.
const WAITING_MAX: usize = 100_000;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// From the host to the bridge.
    Out,
    /// From the bridge to the host.
    In,
}

/// A frame that came out of a device.
struct Came {
    port: usize,
    way: Way,
    frame: Vec<u8>,
}

/// A cable.
struct Cable {
    host: HostRef,
    gateway: Ipv4Addr,
    ends: BTreeMap<Way, Arc<Tun>>,
    /// What the network's links are like; of those between two hosts, the sender's is the one that counts.
    base: Wire,
    /// What faults make of it, each way.
    faults: BTreeMap<Way, Wire>,
    parts: BTreeMap<usize, LinkPart>,
    /// When the last frame of a way arrives: wires keep the order.
    last: BTreeMap<Way, Instant>,
}

/// A link with its dice.
struct Wire {
    link: Option<Link>,
    rolls: Rolls,
}

pub(super) async fn run(scenario: &Scenario, seed: u64, mut orders: Orders) -> Result<(), String> {
    let (sender, mut frames) = unbounded_channel();
    let mut cables = BTreeMap::<usize, Cable>::new();
    // The clock of delays needs no zero of the world's.
    let clock = crate::real::Clock::start();
    let mut waiting = BTreeMap::<(Instant, u64), (usize, Way, Vec<u8>)>::new();
    let mut number = 0;
    loop {
        let due = waiting.first_key_value().map(|((at, _), _)| *at);
        let nap = tokio::time::sleep_until(due.map_or_else(tokio::time::Instant::now, |at| clock.at(at)));
        tokio::select! {
            biased;
            order = orders.next() => match order {
                None => return Ok(()),
                Some(Order::Cable { port, host }) => {
                    let cable = Cable::new(scenario, seed, port, HostRef(host), &sender)?;
                    cables.insert(port, cable);
                    tell(&News::Ready);
                }
                Some(Order::Inflict { event }) => suffer(scenario, event, true, &mut cables),
                Some(Order::Relieve { event }) => suffer(scenario, event, false, &mut cables),
                Some(_) => {}
            },
            Some(Came { port, way, frame }) = frames.recv() => {
                let Some(cable) = cables.get_mut(&port) else { continue };
                for (at, way, frame) in cable.pass(way, frame, clock.now()) {
                    if waiting.len() < WAITING_MAX {
                        number += 1;
                        waiting.insert((at, number), (port, way, frame));
                    }
                }
            }
            () = nap, if due.is_some() => {}
        }
        while let Some(entry) = waiting.first_entry()
            && entry.key().0 <= clock.now()
        {
            let (port, way, frame) = entry.remove();
            if let Some(end) = cables.get(&port).and_then(|cable| cable.ends.get(&way)) {
                // A device that is gone or down takes nothing.
                let _ = end.send(&frame).await;
            }
        }
    }
}

fn suffer(scenario: &Scenario, event: usize, begins: bool, cables: &mut BTreeMap<usize, Cable>) {
    let Some(Act::Fault(fault)) = scenario.events.get(event).map(|event| &event.act) else { return };
    for cable in cables.values_mut().filter(|cable| cable.host == fault.on) {
        cable.suffer(event, &fault.fault, begins);
    }
}

impl Cable {
    fn new(
        scenario: &Scenario,
        seed: u64,
        port: usize,
        host: HostRef,
        sender: &UnboundedSender<Came>,
    ) -> Result<Self, String> {
        let spec = scenario.hosts.get(usize::from(host.0)).ok_or("no such host")?;
        let net = &scenario.nets[usize::from(spec.net)];
        let mut ends = BTreeMap::new();
        // What is read off one end goes out at the other.
        for (name, reads, writes) in
            [(format!("e{port}"), Way::Out, Way::In), (format!("v{port}"), Way::In, Way::Out)]
        {
            // It is taken up by whoever plugs it in.
            let built = Tun::builder().name(&name).tap().build();
            let mut devices = built.map_err(|error| format!("no TAP device {name}: {error}"))?;
            let device = Arc::new(devices.pop().ok_or_else(|| format!("no TAP device {name}"))?);
            tokio::spawn(read(Arc::clone(&device), port, reads, sender.clone()));
            ends.insert(writes, device);
        }
        let place = port as u64;
        let faults = [(Way::Out, 2), (Way::In, 3)];
        Ok(Self {
            host,
            gateway: net.gateway,
            ends,
            base: Wire { link: base_of(&net.link), rolls: Rolls::new(seed, 4 * place) },
            faults: faults
                .map(|(way, nth)| (way, Wire { link: None, rolls: Rolls::new(seed, 4 * place + nth) }))
                .into(),
            parts: BTreeMap::new(),
            last: BTreeMap::new(),
        })
    }

    fn suffer(&mut self, event: usize, fault: &Fault, begins: bool) {
        match link_part(fault).filter(|_| begins) {
            Some(part) => self.parts.insert(event, part),
            None => self.parts.remove(&event),
        };
        for wire in self.faults.values_mut() {
            wire.link = suffering(self.parts.values()).map(Link::new);
        }
    }

    /// Returns what becomes of a frame: when it comes out, and where.
    fn pass(&mut self, way: Way, frame: Vec<u8>, now: Instant) -> Vec<(Instant, Way, Vec<u8>)> {
        let Some(packet) = frame.get(ETHERNET..).filter(|_| frame.get(12..ETHERNET) == Some(IPV4.as_slice()))
        else {
            return vec![(now, way, frame)];
        };
        let len = packet.len();
        let mut arrivals = vec![(now, false)];
        let wires = match way {
            Way::Out => [Some(&mut self.base), self.faults.get_mut(&way)],
            Way::In => [None, self.faults.get_mut(&way)],
        };
        for wire in wires.into_iter().flatten() {
            let Some(link) = &mut wire.link else { continue };
            let spec = *link.spec();
            if len > usize::from(spec.mtu) {
                return match spec.mtu_answered {
                    true => too_big(&frame, self.gateway, spec.mtu)
                        .map(|answer| (now, back(way), answer))
                        .into_iter()
                        .collect(),
                    false => Vec::new(),
                };
            }
            let mut next = Vec::new();
            for (at, is_held) in arrivals {
                // What is lost or finds no room is gone.
                let Ok(passage) = link.pass(at, len, &mut wire.rolls) else { continue };
                next.push((passage.at, is_held || passage.held_back));
                next.extend(passage.again.map(|again| (again, true)));
            }
            arrivals = next;
        }
        let last = self.last.entry(way).or_insert(now);
        let mut out = Vec::new();
        for (at, is_held) in arrivals {
            let at = if is_held { at } else { at.max(*last) };
            if !is_held {
                *last = at;
            }
            out.push((at, way, frame.clone()));
        }
        out
    }
}

/// Returns what the network's links do that the kernel's do not.
fn base_of(quality: &crate::scenario::model::LinkQuality) -> Option<Link> {
    let spec = link_of(quality);
    // How large packets may be the kernel knows by itself.
    (!is_kernels(quality)).then(|| Link::new(LinkSpec { mtu: u16::MAX, ..spec }))
}

const fn back(way: Way) -> Way {
    match way {
        Way::Out => Way::In,
        Way::In => Way::Out,
    }
}

/// Returns the frame by which a router tells that a packet does not fit.
fn too_big(frame: &[u8], from: Ipv4Addr, mtu: u16) -> Option<Vec<u8>> {
    let Parsed::Tcp(about) = parse(frame.get(ETHERNET..)?)? else { return None };
    let mut packet = Vec::new();
    write_unreachable(&mut packet, from, &about, Unreachable::TooBig(mtu), true);
    debug_assert!(packet.len() > IP_HEADER, "an error has a header");
    // Back to where it came from.
    let mut answer = frame.get(6..12)?.to_vec();
    answer.extend_from_slice(frame.get(..6)?);
    answer.extend_from_slice(&IPV4);
    answer.extend_from_slice(&packet);
    Some(answer)
}

async fn read(device: Arc<Tun>, port: usize, way: Way, sender: UnboundedSender<Came>) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    loop {
        match device.recv(&mut buffer).await {
            Ok(len) => {
                if sender.send(Came { port, way, frame: buffer[..len].to_vec() }).is_err() {
                    return;
                }
            }
            // It is down, and may come up again.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}
