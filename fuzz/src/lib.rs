//! What the fuzz targets share: where to cut, a head read the slow way, the second parsers, inputs
//! made up out of the fuzzer's bytes, and the memory that is taken.

#![deny(unsafe_code)]

pub mod blocks;
pub mod choices;
pub mod cuts;
pub mod lines;
pub mod made;
pub mod memory;
pub mod schema;
pub mod second;
