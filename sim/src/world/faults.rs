//! Faults: what each does to the world, and how it is undone.
//!
//! A fault on a process stops or freezes it; on a host's network it goes to the net; on what an origin says it goes to
//! the model. Faults of one kind on one host may overlap: each is undone by its own end, and what is left in force is
//! what the others say.

use std::net::{IpAddr, Ipv4Addr};

use proxy_core::time::Duration;

use super::{Running, Wake, World, origin::OriginHost};
use crate::{
    net::{AddressPolicy, BridgeId, BridgeSpec, DnsFault, HostId, LinkFault, LinkSpec, Net, PartitionMode, PublishMode, Seen},
    origin::{Behaviour, Ending as ModelEnding, Handshake, Like, Publisher},
    player::Reading,
    scenario::model::{
        Act, AddressTaken, Comeback, CutBy, Direction, DnsAnswer, Ending, Fault, FaultEvent, HostRef, Network,
        NextIp, OriginModel, PartitionHow, Publish, PublishVia, Then,
    },
    trace::{ActorId, CastMember, Packet, PacketFate},
};
