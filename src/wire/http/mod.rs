//! HTTP/1.1, strict about what comes from outside and exact about what goes on.
//!
//! Two parties must never read one byte stream differently: a request that a proxy and an endpoint
//! cut at different places smuggles a second one past the first. So whatever two parsers could
//! understand in two ways is refused.

pub mod accept;
pub mod added;
pub mod answer;
pub mod body;
pub mod form;
pub mod forwarded;
pub mod head;
pub mod page;
pub mod reply;
pub mod retry_after;
pub mod rewrite;
pub mod target;
