//! The event loop of load, sink and relay, and the core it runs on.
//!
//! The ring is built on the thread that runs it: with SINGLE_ISSUER the kernel ties the two
//! together. The flags are those of the proxy, else the relay would not be its floor.

use std::future::Future;
use std::io;

use io_uring::IoUring;
use monoio::net::{ListenerOpts, TcpListener};
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::fault::{During, Fault};

/// Submission entries: more than the connections of any scenario, so that no submit splits.
const ENTRIES: u32 = 2048;

/// Runs `start` to its end on this thread, on the best event loop that this kernel allows. The
/// future is told which one it got.
pub fn block_on<F: Future>(start: impl FnOnce(&'static str) -> F) -> Result<F::Output, Fault> {
    let mut defer = IoUring::builder();
    defer.setup_single_issuer().setup_defer_taskrun();
    if let Ok(mut runtime) = uring(defer) {
        return Ok(runtime.block_on(start("uring-defer-taskrun")));
    }
    let mut coop = IoUring::builder();
    coop.setup_coop_taskrun();
    if let Ok(mut runtime) = uring(coop) {
        return Ok(runtime.block_on(start("uring-coop-taskrun")));
    }
    let mut runtime =
        RuntimeBuilder::<LegacyDriver>::new().build().during("neither io_uring nor epoll")?;
    Ok(runtime.block_on(start("epoll")))
}

fn uring(flags: io_uring::Builder) -> io::Result<Runtime<IoUringDriver>> {
    RuntimeBuilder::<IoUringDriver>::new().uring_builder(flags).with_entries(ENTRIES).build()
}

/// Listens on `address`. To be called inside [`block_on`]: the driver decides on blocking or not.
///
/// The port is not shared: a left-over process on it would silently take half the connections.
pub fn listen(address: &str) -> Result<TcpListener, Fault> {
    let options = ListenerOpts::new().reuse_port(false).reuse_addr(true).backlog(4096);
    TcpListener::bind_with_config(address, &options).during(address)
}

/// Ties this thread, and those it starts, to one core; `None` leaves it where it is.
pub fn pin(core: Option<usize>) -> Result<(), Fault> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(Fault(format!("no such core: {core}")));
    }
    set.set(core);
    sched_setaffinity(None, &set).during(format_args!("pinning to core {core}"))
}
