//! `phyr.desc`: tables for devices and kernels, and back.
//!
//! | file | holds |
//! | --- | --- |
//! | `parse` | lists from tables |
//! | `requests` | VFIO and iommufd map requests |
//! | `tables` | tables of every other format |

pub(crate) mod parse;
pub(crate) mod requests;
pub(crate) mod tables;
