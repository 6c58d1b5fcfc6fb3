//! A configuration file.
//!
//! Claims, for any bytes:
//! * Reading them does not panic, and stays within its bounds.
//! * What is refused is refused with a reason: lines that begin with the file, in the order of its
//!   lines, and hold no other line. No reason, and no debug output of what is accepted, tells what
//!   stands in a file that was named for a secret.
//! * Endpoints that are accepted have names of their own, and what was promised of their values.
//! * What an endpoint adds to a request leaves it one request, with the body that it had, and as many
//!   headers more as were written: no value ends a line.

#![no_main]

use std::collections::HashSet;
use std::io;
use std::path::Path;

use highlander::base::limits::{HEAD_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX};
use highlander::base::time::Millis;
use highlander::config::endpoint::Endpoint;
use highlander::config::file::parse;
use highlander::config::queue::Delivery;
use highlander::wire::http::head::{Framing, Head, header_room};
use libfuzzer_sys::fuzz_target;

/// Stands in every file that can be read.
const SECRET: &str = "z9secretz9";

fuzz_target!(|bytes: &[u8]| {
    let knows_it = String::from_utf8_lossy(bytes).contains("z9");
    match parse(bytes, read) {
        Ok(endpoints) => {
            let names: HashSet<&str> = endpoints.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names.len(), endpoints.len());
            assert!(knows_it || !format!("{endpoints:?}").contains(SECRET));
            endpoints.iter().for_each(check);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let mut last = 0;
            for fault in &faults {
                assert!(!fault.contains('\n'), "{fault}");
                assert!(knows_it || !fault.contains(SECRET), "{fault}");
                let after = fault.strip_prefix("highlander.yml:").expect("the file comes first");
                let line = after.split(':').next().and_then(|line| line.parse().ok());
                let Some(line): Option<usize> = line else { continue };
                assert!(last <= line, "{faults:?}");
                last = line;
            }
        }
    }
});

fn read(path: &Path) -> io::Result<String> {
    match path.as_os_str().len() % 3 {
        0 => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(format!(" {SECRET}\n")),
    }
}

fn check(endpoint: &Endpoint) {
    assert!(endpoint.remote_timeout >= Millis(1000));
    assert!(endpoint.port > 0 && !endpoint.host.is_empty());
    assert_eq!(endpoint.tls.is_some(), endpoint.url.to_ascii_lowercase().starts_with("https:"));
    if let Delivery::Queued(queue) = &endpoint.delivery {
        assert!(Millis(0) < queue.backoff_min && queue.backoff_min <= queue.backoff_max);
        assert!(queue.bytes_max > 0 && queue.in_flight_max > 0);
        assert!(!queue.dir.as_os_str().is_empty());
    }
    check_head(endpoint);
}

fn check_head(endpoint: &Endpoint) {
    let text = b"POST /w?a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    let mut room = header_room();
    let head = Head::parse(text, &mut room).expect("good").expect("whole");
    let route = endpoint.route("i");
    let mut out = Vec::new();
    route.append_head(&head, &mut out);
    assert!(out.len() <= text.len() + route.added_bytes_max());
    let mut target = Vec::new();
    route.mount.append(head.target, &mut target);
    let count = 3 + usize::from(endpoint.authorization.is_some()) + endpoint.headers.len();
    if out.len() > HEAD_BYTES_MAX || count > HEADERS_MAX || target.len() > TARGET_BYTES_MAX {
        return;
    }
    let mut room = header_room();
    let again = Head::parse(&out, &mut room).expect("ours is good").expect("ours is whole");
    assert_eq!(again.bytes, out.len());
    assert_eq!(again.framing, Framing::Length(3));
    assert_eq!(again.target, target);
    assert_eq!(again.headers.len(), count);
    for (name, value) in &endpoint.headers {
        let is_it =
            again.headers.iter().any(|it| it.name == name && it.value == value.0.as_bytes());
        assert!(is_it, "{name}");
    }
}
