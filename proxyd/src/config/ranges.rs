//! Lists of IP addresses and ranges, in ZLMediaKit's notation and CIDR.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Addresses that may do something; an empty list means everybody, as in ZLMediaKit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpRanges {
    text: String,
    ranges: Vec<(IpAddr, IpAddr)>,
}

/// Loopback and RFC 1918.
const PRIVATE: &str = "::1,127.0.0.0-127.255.255.255,10.0.0.0-10.255.255.255,172.16.0.0-172.31.255.255,\
                       192.168.0.0-192.168.255.255";

impl IpRanges {
    /// Returns loopback and RFC 1918, ZLMediaKit's default.
    pub fn private() -> Self {
        Self::parse(PRIVATE).expect("the default is well formed")
    }

    /// Understands addresses, `a-b` ranges and CIDR blocks with commas between them.
    ///
    /// # Errors
    /// Says which part is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let ranges = parts.map(parse_part).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), ranges })
    }

    /// Tells if everybody is inside.
    pub fn is_open(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Tells if an address is inside; an IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.is_open()
            || self
                .ranges
                .iter()
                .any(|(first, last)| first.is_ipv4() == ip.is_ipv4() && *first <= ip && ip <= *last)
    }
}

impl fmt::Display for IpRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_part(part: &str) -> Result<(IpAddr, IpAddr), String> {
    let address =
        |text: &str| text.trim().parse::<IpAddr>().map_err(|_| format!("\"{text}\" is no IP address"));
    if let Some((first, last)) = part.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(format!("\"{part}\" is no range from a lower to a higher address"));
        }
        return Ok((first, last));
    }
    if let Some((ip, bits)) = part.split_once('/') {
        let ip = address(ip)?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= width);
        let bits = bits.ok_or_else(|| format!("\"{part}\" has no prefix length from 0 to {width}"))?;
        return Ok(block(ip, bits));
    }
    let ip = address(part)?;
    Ok((ip, ip))
}

fn block(ip: IpAddr, bits: u32) -> (IpAddr, IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            let first = ip.to_bits() & !host;
            (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | host).into())
        }
        IpAddr::V6(ip) => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            let first = ip.to_bits() & !host;
            (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | host).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(ranges: &str, ip: &str) -> bool {
        IpRanges::parse(ranges).expect(ranges).contains(ip.parse().expect(ip))
    }

    #[test]
    fn the_default_is_loopback_and_private_networks() {
        for ip in ["127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.7.7", "::ffff:192.168.7.7"] {
            assert!(inside(PRIVATE, ip), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "11.0.0.0", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!inside(PRIVATE, ip), "{ip}");
        }
    }

    #[test]
    fn blocks_and_ranges_end_where_they_say() {
        assert!(inside("10.0.0.0/8", "10.255.255.255"));
        assert!(!inside("10.0.0.0/8", "11.0.0.0"));
        assert!(inside("0.0.0.0/0", "203.0.113.1"));
        assert!(!inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("fd00::/8", "fdff::1"));
        assert!(inside("", "203.0.113.1"));
        assert!(inside("10.0.0.1-10.0.0.3 , 1.2.3.4", "1.2.3.4"));
    }

    #[test]
    fn a_bad_part_is_named() {
        let error = |text: &str| IpRanges::parse(text).expect_err(text);
        assert_eq!(error("127.0.0.1,localhost"), "\"localhost\" is no IP address");
        assert_eq!(
            error("10.0.0.9-10.0.0.1"),
            "\"10.0.0.9-10.0.0.1\" is no range from a lower to a higher address"
        );
        assert_eq!(error("10.0.0.0/33"), "\"10.0.0.0/33\" has no prefix length from 0 to 32");
    }
}
