//! Files that a configuration names: certificates, keys, passwords.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::base::limits::NAMED_FILE_BYTES_MAX;

/// Reads a file that should be short: a device without an end is cut off, and refused.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(NAMED_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > NAMED_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {}KiB", NAMED_FILE_BYTES_MAX >> 10)));
    }
    Ok(bytes)
}
