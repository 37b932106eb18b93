//! The parts that the benches share.
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod baselines;
pub(crate) mod checked;
pub(crate) mod counting;
pub(crate) mod harness;
pub(crate) mod lists;
pub(crate) mod plain;
pub(crate) mod workloads;
