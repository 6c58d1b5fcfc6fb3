//! Why a server did not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::TlsSettingFault;
use crate::io::queue::recovery::OpenError;

/// Why the server did not start. Nothing is left running.
#[derive(Debug)]
pub enum StartError {
    /// An address can't be listened on; the port may be taken.
    Listen(SocketAddr, io::Error),
    /// A core can't be started: threads, descriptors, or the driver that was asked for.
    Core(usize, io::Error),
    /// Another thread can't be started.
    Thread(io::Error),
    /// The file that keeps who is promoted can't be read or written.
    State(PathBuf, io::Error),
    /// The address for the cluster's datagrams can't be bound.
    Cluster(SocketAddr, io::Error),
    /// The leases of the etcd can't be asked for: a file can't be used.
    Lease(io::Error),
    /// TLS can't be spoken with the endpoint: a file can't be used any more.
    Tls(TlsSettingFault),
    /// The file of this flag, which says who may reach a listener, can't be used any more.
    Access(&'static str, Vec<String>),
    /// The queue in this folder can't be opened.
    Queue(PathBuf, OpenError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            StartError::Core(index, error) => write!(f, "can't start core {index}: {error}"),
            StartError::Thread(error) => write!(f, "can't start a thread: {error}"),
            StartError::State(path, error) => write!(f, "--state {}: {error}", path.display()),
            StartError::Cluster(address, error) => {
                write!(f, "can't bind --cluster-bind {address}: {error}")
            }
            StartError::Lease(error) => write!(f, "--cluster-lease: {error}"),
            StartError::Tls(fault) => write!(f, "TLS: {} {}", fault.key, fault.what),
            StartError::Access(flag, faults) => write!(f, "{flag} {}", faults.join(", ")),
            StartError::Queue(dir, OpenError::Disk(error))
                if error.kind() == io::ErrorKind::WouldBlock =>
            {
                write!(f, "queue {}: another process has it", dir.display())
            }
            StartError::Queue(dir, error) => write!(f, "queue {}: {error}", dir.display()),
        }
    }
}

impl std::error::Error for StartError {}
