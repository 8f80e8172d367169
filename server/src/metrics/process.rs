//! The process, as the kernel sees it.

use std::fs;

use hookline_core::time::Timestamp;
use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
};

use super::{Measured, Text, family};
use crate::store::BoxFuture;

/// The process and its build.
#[derive(Debug)]
pub struct Process {
    /// When it started, by the wall clock.
    pub started_at: Timestamp,
}

impl Measured for Process {
    fn measure<'a>(&'a self, text: &'a mut Text) -> BoxFuture<'a, ()> {
        text.family(&family::BUILD).add(&[env!("CARGO_PKG_VERSION")], 1);
        text.single(&family::PROCESS_START, self.started_at.as_micros() as f64 / 1e6);
        // Where there is no /proc, there are no such figures.
        if let Some(bytes) = resident_bytes() {
            text.single(&family::PROCESS_MEMORY, bytes);
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // Without the one that reads them.
            text.single(&family::PROCESS_FDS, fds.count().saturating_sub(1));
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            text.single(&family::PROCESS_FDS_MAX, most);
        }
        Box::pin(std::future::ready(()))
    }
}

/// Reads the second number of `/proc/self/statm`, which counts pages.
fn resident_bytes() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size())
}
