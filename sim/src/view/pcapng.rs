//! A trace as pcapng, for Wireshark: an interface per network namespace, names resolved, faults as packet comments.
//!
//! A packet is seen where it leaves and where it comes in, as captures on both hosts would show it. Checksums are
//! filled in: on the simulated network nobody checks them.

use std::{borrow::Cow, net::IpAddr};

use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgBlock, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            name_resolution::{Ipv4Record, Ipv6Record, NameResolutionBlock, Record as NameRecord},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};
use proxy_core::time::Duration;

use crate::{
    net::packet::{Family, IP_HEADER, IP6_HEADER},
    trace::{Logged, PacketFate, What, words},
};

/// Timestamps count nanoseconds: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;

/// Returns the packets of a trace as a pcapng file.
///
/// # Errors
/// A block cannot be written, which a Vec does not do.
pub fn pcapng(trace: &Logged) -> Result<Vec<u8>, PcapError> {
    let title = format!("{} seed {}", trace.scenario, trace.seed);
    let section = SectionHeaderBlock {
        endianness: Endianness::Little,
        options: vec![
            SectionHeaderOption::Comment(Cow::Owned(title)),
            SectionHeaderOption::UserApplication(Cow::Borrowed("repull-sim")),
        ],
        ..SectionHeaderBlock::default()
    };
    let mut writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
    for namespace in &trace.cast.namespaces {
        let mut interface = InterfaceDescriptionBlock::new(DataLink::RAW, 0);
        interface.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(namespace.name.as_str())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        writer.write_block(&interface.into_block())?;
    }
    writer.write_block(&names(trace).into_block())?;

    // What has happened since the last packet goes along with the next one.
    let mut comments: Vec<String> = Vec::new();
    for record in &trace.records {
        match &record.what {
            What::Packet(packet) => {
                let mut options: Vec<EnhancedPacketOption<'_>> =
                    comments.drain(..).map(|text| EnhancedPacketOption::Comment(Cow::Owned(text))).collect();
                if let PacketFate::Dropped(why) = &packet.fate {
                    options.push(EnhancedPacketOption::Comment(Cow::Owned(format!("lost: {why}"))));
                }
                let data = with_checksums(&packet.bytes);
                let block = EnhancedPacketBlock {
                    interface_id: u32::from(packet.host),
                    timestamp: Duration::from_nanos(record.at.as_nanos()),
                    original_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
                    data: Cow::Owned(data),
                    options,
                };
                writer.write_block(&block.into_block())?;
            }
            What::Began { event } => {
                let line =
                    trace.text.lines().nth((record.line as usize).saturating_sub(1)).unwrap_or("").trim();
                comments.push(format!("{} event {} begins: {line}", record.at, event + 1));
            }
            What::Lifted { .. } | What::Phase(_) => {
                comments.push(format!("{} {}", record.at, words::describe(record, &trace.cast)));
            }
            What::Moment(_) => {
                let (who, what) = (trace.cast.name(record.actor), words::describe(record, &trace.cast));
                comments.push(format!("{} {who} {what}", record.at));
            }
            What::Address { .. }
            | What::Asked(_)
            | What::Answered { .. }
            | What::In(_)
            | What::Out(_)
            | What::Dialled { .. }
            | What::Event(_)
            | What::Sample(_)
            | What::Arrived { .. }
            | What::EndArrived { .. }
            | What::OriginAccepted
            | What::OriginPlays { .. }
            | What::OriginComplains(_)
            | What::PlayerJoins { .. }
            | What::PlayerLeaves { .. }
            | What::PlayerConnected { .. }
            | What::Saw { .. }
            | What::PlayerTold { .. }
            | What::PlayerLost { .. }
            | What::PlayerViolation { .. } => {}
        }
    }
    Ok(writer.into_inner())
}

fn names(trace: &Logged) -> NameResolutionBlock<'_> {
    let records = trace.cast.namespaces.iter().flat_map(|namespace| {
        namespace.addresses.iter().flat_map(|ip| {
            let names = vec![Cow::Borrowed(namespace.name.as_str())];
            [Family::V4, Family::V6].map(|family| match family.address(*ip) {
                IpAddr::V4(ip) => {
                    let ip_addr = Cow::Owned(ip.octets().to_vec());
                    NameRecord::Ipv4(Ipv4Record { ip_addr, names: names.clone() })
                }
                IpAddr::V6(ip) => {
                    let ip_addr = Cow::Owned(ip.octets().to_vec());
                    NameRecord::Ipv6(Ipv6Record { ip_addr, names: names.clone() })
                }
            })
        })
    });
    NameResolutionBlock { records: records.collect(), options: Vec::new() }
}

/// Returns a packet with its checksums right.
fn with_checksums(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let first = bytes.first().copied().unwrap_or(0);
    let is_v6 = first >> 4 == 6;
    let header = if is_v6 { IP6_HEADER } else { usize::from(first & 0x0F) * 4 };
    if header < IP_HEADER || bytes.len() < header {
        return bytes;
    }
    if !is_v6 {
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..header], 0);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let (protocol, addresses) = if is_v6 { (bytes[6], 8..IP6_HEADER) } else { (bytes[9], 12..IP_HEADER) };
    // Where the checksum stands, and whether the addresses count.
    let (at, has_pseudo_header) = match protocol {
        1 => (2, false),
        6 => (16, true),
        58 => (2, true),
        _ => return bytes,
    };
    let (head, body) = bytes.split_at_mut(header);
    if body.len() < at + 2 {
        return bytes;
    }
    body[at..at + 2].fill(0);
    let mut pseudo = Vec::new();
    if has_pseudo_header {
        pseudo.extend_from_slice(&head[addresses]);
        pseudo.extend_from_slice(&[0, protocol]);
        pseudo.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    let sum = checksum(body, partial(&pseudo));
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn partial(bytes: &[u8]) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)])));
    words.fold(0, u32::wrapping_add)
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8], carried: u32) -> u16 {
    let mut sum = partial(bytes) + carried;
    while sum >> 16 != 0 {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_a_captured_packet() {
        // A header as RFC 1071's arithmetic is usually shown: the sum that belongs in it is B1E6.
        let header = [
            0x45, 0x00, 0x00, 0x3C, 0x1C, 0x46, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00, 0xAC, 0x10, 0x0A, 0x63,
            0xAC, 0x10, 0x0A, 0x0C,
        ];
        assert_eq!(checksum(&header, 0), 0xB1E6);
    }
}
