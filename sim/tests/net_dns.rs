//! Names: what a client's resolver answers, and when.

use std::net::{IpAddr, Ipv4Addr};

use proxy_core::time::{Duration, Instant};
use sim::net::{
    HostId,
    dns::{AddressOrder, Dns, DnsError, DnsReply, NameSpec},
};

const CLIENT: HostId = HostId(3);
const SECOND: Duration = Duration::from_secs(1);

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(172, 17, 0, last))
}

fn addresses(last: &[u8]) -> DnsReply {
    DnsReply::Addresses(last.iter().map(|&last| address(last)).collect())
}

/// A name that is `origin` from the start.
fn named(spec: NameSpec, reply: DnsReply) -> Dns {
    let mut dns = Dns::new(1);
    dns.set_spec("origin", spec);
    dns.set("origin", reply, Instant::ZERO);
    dns
}

/// Asks at these seconds, and returns the last number of the first address, 0 for a failure.
fn check(dns: &mut Dns, seconds: &[u32]) -> Vec<u8> {
    let first = |at: &u32| {
        let answer = dns.lookup(CLIENT, "origin", Instant::ZERO + SECOND * *at).answer;
        match answer.ok().and_then(|addresses| addresses.first().copied()) {
            Some(IpAddr::V4(ip)) => ip.octets()[3],
            Some(IpAddr::V6(_)) | None => 0,
        }
    };
    seconds.iter().map(first).collect()
}

#[test]
fn a_change_is_seen_at_once_without_lag_and_cache() {
    let mut dns = named(NameSpec::DEFAULT, addresses(&[2]));
    dns.set("origin", addresses(&[5]), Instant::ZERO + SECOND * 10);
    assert_eq!(check(&mut dns, &[1, 9, 10, 20]), [2, 2, 5, 5]);
}

#[test]
fn a_resolver_that_lags_answers_what_was_true() {
    let mut dns = named(NameSpec { lag: SECOND * 30, ..NameSpec::DEFAULT }, addresses(&[2]));
    dns.set("origin", addresses(&[5]), Instant::ZERO + SECOND * 10);
    dns.set("origin", DnsReply::NotFound, Instant::ZERO + SECOND * 20);
    assert_eq!(check(&mut dns, &[0, 15, 39, 40, 49, 50]), [2, 2, 2, 5, 5, 0]);
}

#[test]
fn a_client_keeps_an_answer_for_its_ttl_and_another_client_does_not() {
    let mut dns = named(NameSpec { ttl: SECOND * 60, ..NameSpec::DEFAULT }, addresses(&[2]));
    assert_eq!(check(&mut dns, &[0]), [2]);
    dns.set("origin", addresses(&[5]), Instant::ZERO + SECOND * 10);
    assert_eq!(check(&mut dns, &[20, 59]), [2, 2]);
    let other = dns.lookup(HostId(4), "origin", Instant::ZERO + SECOND * 20);
    assert_eq!(other.answer, Ok(vec![address(5)]));
    assert_eq!(check(&mut dns, &[61]), [5]);
    dns.set("origin", addresses(&[6]), Instant::ZERO + SECOND * 62);
    dns.flush(CLIENT);
    assert_eq!(check(&mut dns, &[63]), [6]);
}

#[test]
fn a_name_that_was_not_found_is_kept_like_an_answer() {
    let mut dns = named(NameSpec { ttl: SECOND * 60, ..NameSpec::DEFAULT }, DnsReply::NotFound);
    assert_eq!(check(&mut dns, &[0]), [0]);
    dns.set("origin", addresses(&[2]), Instant::ZERO + SECOND);
    assert_eq!(check(&mut dns, &[2, 61]), [0, 2]);
}

#[test]
fn a_failing_resolver_is_asked_again() {
    let mut dns = named(NameSpec { ttl: SECOND * 60, ..NameSpec::DEFAULT }, DnsReply::ServFail);
    assert_eq!(dns.lookup(CLIENT, "origin", Instant::ZERO).answer, Err(DnsError::ServFail));
    dns.set("origin", addresses(&[2]), Instant::ZERO + SECOND);
    assert_eq!(check(&mut dns, &[2]), [2]);
}

#[test]
fn a_silent_resolver_is_given_up_after_ten_seconds() {
    let mut dns = named(NameSpec::DEFAULT, DnsReply::Silent);
    let lookup = dns.lookup(CLIENT, "origin", Instant::ZERO);
    assert_eq!((lookup.at, lookup.answer), (Instant::ZERO + SECOND * 10, Err(DnsError::TimedOut)));
}

#[test]
fn a_slow_resolver_answers_late() {
    let slow = NameSpec { delay_min: SECOND * 3, delay_max: SECOND * 4, ..NameSpec::DEFAULT };
    let mut dns = named(slow, addresses(&[2]));
    let at = dns.lookup(CLIENT, "origin", Instant::ZERO).at;
    assert!(at >= Instant::ZERO + SECOND * 3 && at <= Instant::ZERO + SECOND * 4, "{at}");
}

#[test]
fn an_unknown_name_is_not_found() {
    assert_eq!(Dns::new(1).lookup(CLIENT, "nobody", Instant::ZERO).answer, Err(DnsError::NotFound));
}

#[test]
fn several_addresses_come_in_the_order_that_was_asked_for() {
    let several = |order| named(NameSpec { order, ..NameSpec::DEFAULT }, addresses(&[1, 2, 3]));
    assert_eq!(check(&mut several(AddressOrder::Fixed), &[0, 1, 2]), [1, 1, 1]);
    assert_eq!(check(&mut several(AddressOrder::Rotated), &[0, 1, 2, 3]), [1, 2, 3, 1]);
    let mut seen = check(&mut several(AddressOrder::Shuffled), &(0..30).collect::<Vec<u32>>());
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [1, 2, 3]);
}
