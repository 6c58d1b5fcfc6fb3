//! Which loop a core runs on: io_uring where the kernel allows it, epoll where it does not.
//!
//! The only reliable test is to build the ring: containers often forbid the call, and older
//! kernels refuse the flags. The default flags are never used, they cost a quarter more CPU.

use std::future::Future;
use std::io;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// `--driver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best that can be built.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// io_uring whose completions are run when the core asks for them (Linux 6.1).
    UringDeferred,
    /// io_uring whose completions wait for the core's next call (Linux 5.19).
    UringCooperative,
    /// epoll.
    Epoll,
}

impl Kind {
    /// Whether sockets given to this driver must be non-blocking. A ring waits by itself, and
    /// gives back EAGAIN for a socket that says it does not want to wait.
    pub fn wants_nonblocking(self) -> bool {
        self == Kind::Epoll
    }

    /// For the log.
    pub fn name(self) -> &'static str {
        match self {
            Kind::UringDeferred => "io_uring",
            Kind::UringCooperative => "io_uring (cooperative)",
            Kind::Epoll => "epoll",
        }
    }
}

/// Entries of a core's submission ring: more than a core submits between two waits; when it is
/// full, it is submitted early, nothing is lost.
const RING_ENTRIES: u32 = 1024;

/// Builds a loop on this thread and runs what `make` makes until it is done.
pub fn run<F: Future>(choice: Choice, make: impl FnOnce(Kind) -> F) -> io::Result<F::Output> {
    let uring = match choice {
        Choice::Epoll => Err(io::Error::from(io::ErrorKind::Unsupported)),
        Choice::Auto | Choice::Uring => build_uring(),
    };
    match (uring, choice) {
        (Ok((mut runtime, kind)), _) => Ok(runtime.block_on(make(kind))),
        (Err(error), Choice::Uring) => Err(error),
        (Err(_), Choice::Auto | Choice::Epoll) => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().build()?;
            Ok(runtime.block_on(make(Kind::Epoll)))
        }
    }
}

fn build_uring() -> io::Result<(monoio::Runtime<IoUringDriver>, Kind)> {
    let mut deferred = io_uring::IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let mut cooperative = io_uring::IoUring::builder();
    cooperative.setup_coop_taskrun();
    let build = |ring: io_uring::Builder| {
        RuntimeBuilder::<IoUringDriver>::new()
            .uring_builder(ring)
            .with_entries(RING_ENTRIES)
            .build()
    };
    build(deferred)
        .map(|runtime| (runtime, Kind::UringDeferred))
        .or_else(|_| build(cooperative).map(|runtime| (runtime, Kind::UringCooperative)))
}
