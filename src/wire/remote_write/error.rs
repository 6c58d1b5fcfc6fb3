//! What can be wrong with the body of a remote write request.

use std::fmt;

use super::protobuf::ProtobufError;
use super::snappy::SnappyError;

/// Why a body cannot be understood. All of these are its sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The block cannot be decoded, or would be too long.
    Snappy(SnappyError),
    /// The message is not well-formed.
    Protobuf(ProtobufError),
    /// The table of symbols would take more than the decoded limit.
    TooManySymbols,
    /// A series refers to a symbol that the request does not have.
    NoSuchSymbol,
    /// A series has a label name without a value.
    OddReferences,
    /// A series has more labels than any real one.
    TooManyLabels,
    /// The labels, written out as version 1 does, would take more than the decoded limit. Without
    /// this bound a few kilobytes that refer to one long symbol again and again would keep a core
    /// busy for hours.
    LabelsTooLong,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Snappy(error) => error.fmt(f),
            BodyError::Protobuf(error) => error.fmt(f),
            BodyError::TooManySymbols => f.write_str("there are too many symbols"),
            BodyError::NoSuchSymbol => f.write_str("a label refers to a symbol that is not there"),
            BodyError::OddReferences => f.write_str("a label has a name but no value"),
            BodyError::TooManyLabels => f.write_str("a series has too many labels"),
            BodyError::LabelsTooLong => f.write_str("the labels written out are too long"),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<SnappyError> for BodyError {
    fn from(error: SnappyError) -> BodyError {
        BodyError::Snappy(error)
    }
}

impl From<ProtobufError> for BodyError {
    fn from(error: ProtobufError) -> BodyError {
        BodyError::Protobuf(error)
    }
}
