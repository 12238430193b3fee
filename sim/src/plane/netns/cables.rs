//! Which cables the kernel can make, and which are made by a process ([`super::agent`]).

use std::collections::BTreeSet;

use proxy_core::time::Duration;

use crate::{
    scenario::model::{Act, LinkQuality, Scenario},
    world::faults::link_part,
};

/// Latency that is none: the kernel's own cables have as much on a busy machine.
const LATE_MAX: Duration = Duration::from_millis(1);

/// Returns whether the kernel's own cables are as good as these links are to be.
pub(super) fn is_kernels(quality: &LinkQuality) -> bool {
    quality.latency_max <= LATE_MAX
        && quality.loss_ppm == 0
        && quality.duplicate_ppm == 0
        && quality.reorder_ppm == 0
        && quality.bandwidth.is_none()
}

/// Returns the hosts whose cables the kernel cannot make.
pub(super) fn cabled(scenario: &Scenario) -> BTreeSet<usize> {
    let mut hosts = BTreeSet::new();
    for (index, host) in scenario.hosts.iter().enumerate() {
        if !is_kernels(&scenario.nets[usize::from(host.net)].link) {
            hosts.insert(index);
        }
    }
    for event in &scenario.events {
        if let Act::Fault(fault) = &event.act
            && link_part(&fault.fault).is_some()
        {
            hosts.insert(usize::from(fault.on.0));
        }
    }
    hosts
}
