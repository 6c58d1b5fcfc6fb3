//! What the fuzz targets share: where to cut, a head read the slow way, and the second parser.

#![forbid(unsafe_code)]

pub mod cuts;
pub mod lines;
pub mod second;
