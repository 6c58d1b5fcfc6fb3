//! What becomes of requests, as metrics tell it apart: labels that are fixed, so that their number is.

macro_rules! words {
    ($(#[$doc:meta])* $type:ident: $($(#[$one:meta])* $name:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$one])* $name,)*
        }

        impl $type {
            /// All there are.
            pub const ALL: &[$type] = &[$($type::$name,)*];

            /// As the label of a metric.
            pub fn name(self) -> &'static str {
                match self { $($type::$name => $word,)* }
            }
        }
    };
}

words! {
    /// What has become of a request that was read to its end.
    Course:
    /// The endpoint, or the queues, have it.
    Forwarded = "forwarded",
    /// Another node has answered it.
    Relayed = "relayed",
    /// It is kept for a hand-over.
    Held = "held",
    /// It came from a standby and is no remote write.
    Standby = "standby",
    /// Nothing in it was new.
    Covered = "covered",
    /// It was answered 503 by ourselves, or by a node that does not lead.
    Refused = "refused",
    /// It was answered 502 or 504 by ourselves.
    Failed = "failed",
    /// It was answered 4xx by ourselves.
    Malformed = "malformed",
}

words! {
    /// What an endpoint has said to a request. What an operator does about it differs from one to the
    /// next: what is alike in that is one.
    Code:
    /// It has it.
    Ok = "2xx",
    /// It is elsewhere.
    Moved = "3xx",
    /// Out of order, too old, or not what it understands.
    BadRequest = "400",
    /// It does not know us.
    Unauthorized = "401",
    /// It does not let us.
    Forbidden = "403",
    /// The path, or the tenant, is wrong.
    NotFound = "404",
    /// Out of order, as Thanos says it.
    Conflict = "409",
    /// It takes less at a time.
    TooLarge = "413",
    /// It does not speak this version, or not this compression.
    Unsupported = "415",
    /// It takes less per second.
    TooMany = "429",
    /// Another fault of ours.
    Client = "4xx",
    /// A fault of its own.
    Server = "5xx",
    /// It did not connect, read or answer in time.
    Timeout = "timeout",
    /// It takes no connections, or broke off.
    Unreachable = "unreachable",
    /// There is no TLS connection with it.
    Tls = "tls",
    /// What it said is no answer.
    Unreadable = "unreadable",
}

impl Code {
    /// Of an answer with this status.
    pub fn of_status(status: u16) -> Code {
        match status {
            200..=299 => Code::Ok,
            300..=399 => Code::Moved,
            400 => Code::BadRequest,
            401 => Code::Unauthorized,
            403 => Code::Forbidden,
            404 => Code::NotFound,
            409 => Code::Conflict,
            413 => Code::TooLarge,
            415 => Code::Unsupported,
            429 => Code::TooMany,
            402..=499 => Code::Client,
            500..=599 => Code::Server,
            _ => Code::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_counted_by_itself_or_by_its_class() {
        for status in 0..=999 {
            let (code, exact) = (Code::of_status(status).name(), status.to_string());
            let class = format!("{}xx", status / 100);
            let is_ours = (200..600).contains(&status);
            assert!(
                code == exact || code == class || (!is_ours && code == "unreadable"),
                "{status}"
            );
        }
    }
}
