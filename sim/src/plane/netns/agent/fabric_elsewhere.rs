//! Cables that the kernel cannot make, where the kernel has no TAP devices of Linux: there are none.

use super::Orders;
use crate::scenario::model::Scenario;

pub(super) async fn run(_: &Scenario, _: u64, _: Orders) -> Result<(), String> {
    Err("cables that delay or lose are made of Linux's TAP devices".to_owned())
}
