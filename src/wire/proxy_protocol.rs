//! The PROXY protocol: what a balancer says of its client before the client's first byte.
//!
//! Version 1 is a line of text, version 2 has a signature that no protocol of text begins with. Both
//! are told from a request by their first bytes, so that a balancer may send one or not. Strict: a
//! header that two could read in two ways would let a client choose who it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::limits::PROXY_HEADER_BYTES_MAX;

/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included, as the protocol has it.
const LINE_BYTES_MAX: usize = 107;
/// The first bytes of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What comes before the addresses in version 2: the signature, a command, a family and a length.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// No header: its first byte is the client's.
    Bare,
    /// A header of so many bytes.
    Header {
        /// Whom it names. `None`: the balancer speaks for itself, or of a client without an IP address.
        client: Option<SocketAddr>,
        /// Where the client's first byte is.
        bytes: usize,
    },
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningError {
    /// It is longer than it may be.
    TooLong,
    /// A line of version 1 that the protocol does not have.
    BadLine,
    /// A version, command or family that there is not in version 2, or less than its family takes.
    BadBlock,
}

/// Reads what `bytes` begin with. `Ok(None)`: that can't be said yet, and nothing is wrong so far.
pub fn parse(bytes: &[u8]) -> Result<Option<Opening>, OpeningError> {
    if bytes.starts_with(WORD) {
        line(bytes)
    } else if bytes.starts_with(SIGNATURE) {
        block(bytes)
    } else if WORD.starts_with(bytes) || SIGNATURE.starts_with(bytes) {
        Ok(None)
    } else {
        Ok(Some(Opening::Bare))
    }
}

/// Version 1: `PROXY TCP4 10.0.0.7 10.0.0.1 40000 9091`.
fn line(bytes: &[u8]) -> Result<Option<Opening>, OpeningError> {
    let within = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        return match within.len() == LINE_BYTES_MAX {
            true => Err(OpeningError::TooLong),
            false => Ok(None),
        };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(OpeningError::BadLine)?;
    let line = std::str::from_utf8(line).map_err(|_| OpeningError::BadLine)?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        // Whatever comes behind it says nothing.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(ends::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(ends::<Ipv6Addr>(words)?),
        _ => return Err(OpeningError::BadLine),
    };
    Ok(Some(Opening::Header { client, bytes: end + 1 }))
}

/// The first of two ends: both addresses, then both ports.
fn ends<'l, A>(words: impl Iterator<Item = &'l str>) -> Result<SocketAddr, OpeningError>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let words: Vec<&str> = words.take(5).collect();
    let [from, to, from_port, to_port] = words[..] else { return Err(OpeningError::BadLine) };
    let address = |text: &str| text.parse::<A>().map_err(|_| OpeningError::BadLine);
    let (from, _) = (address(from)?, address(to)?);
    let (from_port, _) = (port(from_port)?, port(to_port)?);
    Ok(SocketAddr::new(from.into(), from_port))
}

fn port(text: &str) -> Result<u16, OpeningError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    match text.parse() {
        Ok(port) if is_plain && !has_zeros => Ok(port),
        _ => Err(OpeningError::BadLine),
    }
}

/// Version 2.
fn block(bytes: &[u8]) -> Result<Option<Opening>, OpeningError> {
    let behind = &bytes[SIGNATURE.len()..];
    let Some(([command, family, high, low], rest)) = behind.split_first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if FIXED_BYTES + length > PROXY_HEADER_BYTES_MAX {
        return Err(OpeningError::TooLong);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let client = match command {
        // The balancer's own connection, to see whether somebody is there.
        0x20 => None,
        0x21 => client(*family, block)?,
        _ => return Err(OpeningError::BadBlock),
    };
    Ok(Some(Opening::Header { client, bytes: FIXED_BYTES + length }))
}

/// What a block of version 2 names; what comes behind the addresses is not looked at.
fn client(family: u8, block: &[u8]) -> Result<Option<SocketAddr>, OpeningError> {
    match family {
        // Of no family.
        0x00 => Ok(None),
        // IPv4, by a stream or by datagrams: both addresses, then both ports.
        0x11 | 0x12 => {
            let (from, port) = end::<4>(block)?;
            Ok(Some(SocketAddr::from((Ipv4Addr::from(from), port))))
        }
        // IPv6, the same.
        0x21 | 0x22 => {
            let (from, port) = end::<16>(block)?;
            Ok(Some(SocketAddr::from((Ipv6Addr::from(from), port))))
        }
        // Two paths of sockets.
        0x31 | 0x32 if block.len() >= 2 * 108 => Ok(None),
        _ => Err(OpeningError::BadBlock),
    }
}

/// The first of two ends whose addresses have `N` bytes.
fn end<const N: usize>(block: &[u8]) -> Result<([u8; N], u16), OpeningError> {
    let (from, rest) = block.split_first_chunk::<N>().ok_or(OpeningError::BadBlock)?;
    let (_, ports) = rest.split_first_chunk::<N>().ok_or(OpeningError::BadBlock)?;
    match ports {
        [high, low, _, _, ..] => Ok((*from, u16::from_be_bytes([*high, *low]))),
        _ => Err(OpeningError::BadBlock),
    }
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
