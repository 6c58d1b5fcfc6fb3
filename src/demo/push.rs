//! What a sender puts on the wire, and what it makes of the answer.

use std::net::SocketAddr;

use super::message::Message;
use crate::wire::remote_write::{snappy, v1};

/// The first wait before a batch is sent again, doubled each time, as a Prometheus does by default.
const BACKOFF_MIN_MS: i64 = 30;

/// The longest such wait, unless the answer asks for more.
const BACKOFF_MAX_MS: i64 = 5000;

/// Who a sender is.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its `highlander_source`.
    pub name: &'static str,
    /// The value of all its samples.
    pub number: u32,
    /// Its `highlander_weight`.
    pub weight: u64,
    /// How long after the full interval it scrapes: replicas never do at the same moment.
    pub phase_ms: i64,
}

/// The body of one scrape.
pub fn scrape(profile: &Profile, series: usize, timestamp_ms: i64) -> Vec<u8> {
    let sample = v1::Sample { value: f64::from(profile.number), timestamp_ms };
    let mut builder = v1::WriteRequestBuilder::new();
    for number in 0..series {
        let instance = format!("target-{number}");
        let labels = [("__name__", "demo_value"), ("instance", &instance), ("job", "demo")];
        builder.push(&labels, &[sample]);
    }
    snappy::encode(&builder.finish()).expect("a scrape is far below 4 GiB")
}

/// The head of a request with a body of `body_bytes` that is sent for the `attempt`th time.
pub fn head(profile: &Profile, proxy: SocketAddr, body_bytes: usize, attempt: usize) -> String {
    let Profile { name, weight, .. } = profile;
    let retry = match attempt {
        0 | 1 => String::new(),
        later => format!("Retry-Attempt: {}\r\n", later - 1),
    };
    format!(
        "POST /api/v1/write?highlander_weight={weight}&highlander_source={name} HTTP/1.1\r\n\
        Host: {proxy}\r\n\
        User-Agent: highlander-demo\r\n\
        Content-Length: {body_bytes}\r\n\
        Content-Encoding: snappy\r\n\
        Content-Type: application/x-protobuf\r\n\
        {retry}X-Prometheus-Remote-Write-Version: 0.1.0\r\n\r\n"
    )
}

/// What an answer, or its absence, means to a Prometheus after so many attempts.
pub fn judge(answer: Option<&Message>, attempts: usize) -> Outcome {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let backoff_ms = (BACKOFF_MIN_MS << doublings).min(BACKOFF_MAX_MS);
    match answer.map(|answer| (answer, answer.status())) {
        Some((_, Some(200..=299))) => Outcome::Acknowledged,
        Some((answer, Some(500..=599))) => {
            let asked = answer.header("retry-after").and_then(|it| it.parse::<u32>().ok());
            Outcome::Again(backoff_ms.max(asked.map_or(0, |seconds| i64::from(seconds) * 1000)))
        }
        Some((_, Some(_))) => Outcome::Failed,
        Some((_, None)) | None => Outcome::Again(backoff_ms),
    }
}

/// What became of one attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, or in safe hands.
    Acknowledged,
    /// Not worth another try.
    Failed,
    /// To be tried again, not before so many milliseconds.
    Again(i64),
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: Profile = Profile { name: "a", number: 3, weight: 50, phase_ms: 400 };

    fn answer(text: &str) -> Message {
        Message::read(&mut text.as_bytes()).expect("well-formed").expect("there is one")
    }

    #[test]
    fn a_scrape_carries_the_sender_as_its_value() {
        let body = snappy::decode(&scrape(&PROFILE, 2, 77), 1 << 20).expect("just encoded");
        let mut seen = Vec::new();
        v1::walk(&body, &mut |series| {
            let names: Vec<_> = series.labels().map(|(name, _)| name.to_vec()).collect();
            assert_eq!(names, [&b"__name__"[..], b"instance", b"job"]);
            seen.extend(series.samples());
        })
        .expect("just encoded");
        assert_eq!(seen, [v1::Sample { value: 3.0, timestamp_ms: 77 }; 2]);
    }

    #[test]
    fn the_head_is_that_of_a_prometheus_with_a_weight_and_a_name() {
        let proxy = SocketAddr::from(([127, 0, 0, 1], 9091));
        let first = head(&PROFILE, proxy, 7, 1);
        assert!(first.starts_with(
            "POST /api/v1/write?highlander_weight=50&highlander_source=a HTTP/1.1\r\n"
        ));
        assert!(first.contains("\r\nContent-Length: 7\r\n") && first.ends_with("\r\n\r\n"));
        assert!(!first.contains("Retry-Attempt"));
        assert!(head(&PROFILE, proxy, 7, 3).contains("\r\nRetry-Attempt: 2\r\n"));
    }

    #[test]
    fn a_5xx_and_no_answer_are_tried_again_and_a_4xx_is_not() {
        let cases = [
            ("HTTP/1.1 204 No Content\r\n\r\n", Outcome::Acknowledged),
            ("HTTP/1.1 200 OK\r\n\r\n", Outcome::Acknowledged),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", Outcome::Failed),
            ("HTTP/1.1 429 Too Many Requests\r\n\r\n", Outcome::Failed),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Outcome::Again(30)),
            ("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n", Outcome::Again(2000)),
            ("nonsense\r\n\r\n", Outcome::Again(30)),
        ];
        for (text, outcome) in cases {
            assert_eq!(judge(Some(&answer(text)), 1), outcome, "{text}");
        }
        assert_eq!(judge(None, 1), Outcome::Again(30));
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let waits = (1..12).map(|attempts| judge(None, attempts));
        let expected = [30, 60, 120, 240, 480, 960, 1920, 3840, 5000, 5000, 5000];
        assert!(waits.eq(expected.map(Outcome::Again)));
        assert_eq!(judge(None, usize::MAX), Outcome::Again(5000));
    }
}
