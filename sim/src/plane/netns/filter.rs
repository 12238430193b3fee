//! Partitions, black holes and refusals as rules of nftables: what is in force, written down whole each time.
//!
//! | what | where |
//! |---|---|
//! | packets of one host and everybody, or that open connections to it, vanish | the machine's end of its cable |
//! | packets between two hosts vanish, or are answered | the machine, after translation |
//! | packets of one host and everybody, or that open connections to it, are answered | its own namespace |

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv4Addr};

use crate::scenario::model::{Direction, Family, PartitionHow};

/// What is in force, by event.
#[derive(Debug, Default)]
pub(in crate::plane) struct Rules {
    by_event: BTreeMap<usize, Vec<Rule>>,
    /// Hosts that have had rules of their own, and must be told when they have none.
    hosts: std::collections::BTreeSet<usize>,
}

/// One thing that happens to packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Between a host and everybody.
    All { port: usize, direction: Direction, family: Option<Family>, how: PartitionHow },
    /// Between a host and another.
    Between {
        one: Vec<Ipv4Addr>,
        other: Vec<Ipv4Addr>,
        direction: Direction,
        family: Option<Family>,
        how: PartitionHow,
    },
    /// Opens a connection to a host.
    Opening { port: usize, how: PartitionHow },
}

// Resets pass: they are the answers of these very rules.

/// Packets that open a connection.
const OPENING: &str = "tcp flags & (syn | ack | rst) == syn";

impl Rules {
    pub(super) fn set(&mut self, event: usize, rules: Vec<Rule>) {
        for rule in &rules {
            if let Rule::All { port, how: PartitionHow::Reject, .. }
            | Rule::Opening { port, how: PartitionHow::Reject } = rule
            {
                self.hosts.insert(*port);
            }
        }
        self.by_event.insert(event, rules);
    }

    /// Returns whether there was something to lift.
    pub(super) fn lift(&mut self, event: usize) -> bool {
        self.by_event.remove(&event).is_some()
    }

    /// Returns whether nothing is in force.
    pub(super) fn is_empty(&self) -> bool {
        self.by_event.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &Rule> {
        self.by_event.values().flatten()
    }

    /// Returns the rules of the machine; `device` names its end of a cable, if there is one.
    pub(in crate::plane) fn at_machine(&self, device: impl Fn(usize) -> Option<String>) -> String {
        let mut cables = BTreeMap::<usize, (String, String)>::new();
        let mut forward = String::new();
        for rule in self.all() {
            match rule {
                Rule::All { port, direction, family, how: PartitionHow::Drop } => {
                    let (to, from) = cables.entry(*port).or_default();
                    for family in families(*family) {
                        // Who has an address is asked and answered all the same.
                        let rule = match family {
                            Family::V4 => "  meta protocol ip drop\n",
                            Family::V6 => "  meta protocol ip6 meta l4proto tcp drop\n",
                        };
                        if is_to(*direction) {
                            to.push_str(rule);
                        }
                        if is_from(*direction) {
                            from.push_str(rule);
                        }
                    }
                }
                Rule::Opening { port, how: PartitionHow::Drop } => {
                    let (to, _) = cables.entry(*port).or_default();
                    let _ = writeln!(to, "  {OPENING} drop");
                }
                Rule::Between { one, other, direction, family, how } => {
                    let verdict = match how {
                        PartitionHow::Drop => "drop",
                        PartitionHow::Reject => "tcp flags & rst == 0x0 reject with tcp reset",
                    };
                    for family in families(*family) {
                        let (one, other) = (list(family, one), list(family, other));
                        let ip = word(family);
                        if is_to(*direction) {
                            let _ = writeln!(forward, "  {ip} saddr {other} {ip} daddr {one} {verdict}");
                        }
                        if is_from(*direction) {
                            let _ = writeln!(forward, "  {ip} saddr {one} {ip} daddr {other} {verdict}");
                        }
                    }
                }
                Rule::All { how: PartitionHow::Reject, .. }
                | Rule::Opening { how: PartitionHow::Reject, .. } => {}
            }
        }
        let mut out = format!(
            "table netdev rps\ndelete table netdev rps\ntable inet rps\ndelete table inet rps\ntable inet rps {{\n chain forward \
             {{\n  type filter hook forward priority 0;\n{forward} }}\n}}\ntable netdev rps {{\n"
        );
        for (port, (to, from)) in &cables {
            let Some(device) = device(*port) else { continue };
            for (hook, rules) in [("egress", to), ("ingress", from)] {
                let _ = write!(
                    out,
                    " chain {hook}{port} {{\n  type filter hook {hook} device \"{device}\" priority 0;\n{rules} }}\n"
                );
            }
        }
        out.push_str("}\n");
        out
    }

    /// Returns the rules of a host's own namespace, if it has or had any.
    pub(in crate::plane) fn at_host(&self, of: usize) -> Option<String> {
        if !self.hosts.contains(&of) {
            return None;
        }
        let (mut input, mut output) = (String::new(), String::new());
        for rule in self.all() {
            match rule {
                Rule::All { port, direction, family, how: PartitionHow::Reject } if *port == of => {
                    for family in families(*family) {
                        let rule = format!(
                            "meta nfproto {} tcp flags & rst == 0x0 reject with tcp reset",
                            proto(family)
                        );
                        if is_to(*direction) {
                            let _ = writeln!(input, "  iifname \"eth0\" {rule}");
                        }
                        if is_from(*direction) {
                            let _ = writeln!(output, "  oifname \"eth0\" {rule}");
                        }
                    }
                }
                Rule::Opening { port, how: PartitionHow::Reject } if *port == of => {
                    let _ = writeln!(input, "  iifname \"eth0\" {OPENING} reject with tcp reset");
                }
                Rule::All { .. } | Rule::Opening { .. } | Rule::Between { .. } => {}
            }
        }
        Some(format!(
            "table inet rps\ndelete table inet rps\ntable inet rps {{\n chain input {{\n  type filter hook input priority 0;\n\
             {input} }}\n chain output {{\n  type filter hook output priority 0;\n{output} }}\n}}\n"
        ))
    }
}

fn is_to(direction: Direction) -> bool {
    match direction {
        Direction::Both | Direction::To => true,
        Direction::From => false,
    }
}

fn is_from(direction: Direction) -> bool {
    match direction {
        Direction::Both | Direction::From => true,
        Direction::To => false,
    }
}

fn families(only: Option<Family>) -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6].into_iter().filter(move |family| only.is_none_or(|only| only == *family))
}

/// What nftables calls a family where it matches addresses.
fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// And what it calls it in `nfproto`.
fn proto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn list(family: Family, ips: &[Ipv4Addr]) -> String {
    let ips: Vec<String> = ips.iter().map(|ip| family.address(*ip).to_string()).collect();
    format!("{{ {} }}", ips.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rule =
        Rule::All { port: 1, direction: Direction::From, family: None, how: PartitionHow::Drop };

    fn check(rules: Vec<Rule>) -> (String, Option<String>) {
        let mut in_force = Rules::default();
        in_force.set(7, rules);
        (in_force.at_machine(|port| Some(format!("v{port}"))), in_force.at_host(1))
    }

    #[test]
    fn what_vanishes_vanishes_at_the_cable() {
        let (machine, host) = check(vec![ALL]);
        assert!(
            machine.contains("hook ingress device \"v1\" priority 0;\n  meta protocol ip drop"),
            "{machine}"
        );
        assert!(machine.contains("hook egress device \"v1\" priority 0;\n }"), "{machine}");
        assert_eq!(host, None);
    }

    #[test]
    fn what_is_answered_is_answered_by_the_host() {
        let (machine, host) = check(vec![Rule::Opening { port: 1, how: PartitionHow::Reject }]);
        assert!(!machine.contains("v1"), "{machine}");
        let host = host.expect("rules of its own");
        assert!(host.contains("iifname \"eth0\" tcp flags & (syn | ack | rst) == syn reject"), "{host}");
    }

    #[test]
    fn between_two_hosts_addresses_count_after_translation() {
        let (one, other) = (vec![Ipv4Addr::new(10, 0, 0, 1)], vec![Ipv4Addr::new(10, 0, 0, 2)]);
        let (direction, how) = (Direction::To, PartitionHow::Drop);
        let rule = Rule::Between { one, other, direction, family: None, how };
        let (machine, _) = check(vec![rule]);
        let rules = "  ip saddr { 10.0.0.2 } ip daddr { 10.0.0.1 } drop\n  ip6 saddr { fd00::a00:2 } ip6 daddr { fd00::a00:1 } drop\n }";
        assert!(machine.contains(rules), "{machine}");
    }

    #[test]
    fn a_cable_that_is_gone_has_no_rules_and_what_is_lifted_is_gone() {
        let mut rules = Rules::default();
        let (direction, how) = (Direction::Both, PartitionHow::Reject);
        rules.set(7, vec![ALL, Rule::All { port: 1, direction, family: Some(Family::V6), how }]);
        assert!(!rules.at_machine(|_| None).contains("v1"));
        assert!(rules.lift(7) && !rules.lift(7));
        assert!(!rules.at_machine(|port| Some(format!("v{port}"))).contains("v1"));
        // A host that has had rules is told that it has none.
        assert!(rules.at_host(1).is_some_and(|rules| !rules.contains("reject")));
    }
}
