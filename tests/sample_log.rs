//! The sample log in the README of the original Go program, written by this one, line by line.
//!
//! The decisions, the words and the form are the production ones; only the clock is the test's.

use std::net::SocketAddr;

use chrono::{Local, TimeZone as _};
use highlander::base::time::{Millis, UnixMillis};
use highlander::cli::Cli;
use highlander::config::Config;
use highlander::io::log::{Format, Level, format_line};
use highlander::logic::continuity::Continuity;
use highlander::logic::election::{Candidate, Group};
use highlander::logic::expiry::{Presence, Rhythm};
use highlander::logic::source::{Payload, SourceId, Weight};
use highlander::logic::view::{Event, Heard};
use highlander::server::opening_lines;
use highlander::shared::state::Seats;

const SAMPLE: &str = "\
2019/08/29 17:03:43 binding address: 0.0.0.0:9091
2019/08/29 17:03:43 remote address: http://localhost:9090
2019/08/29 17:03:43 health tick: 1s
2019/08/29 17:03:43 health expiry: 5s
2019/08/29 17:03:43 instance ID: 1
2019/08/29 17:03:44 new source : '127.0.0.1:48876' (bigger Highlander Weight) (0 -> 50)
2019/08/29 17:03:55 lost source : '127.0.0.1:48876' (no data for 5s)
2019/08/29 17:03:56 new source : '127.0.0.1:48880' (no current promoted source) (0)
";

/// Writes lines as they are written at `second` of that minute.
fn write(log: &mut String, second: u32, lines: &[String]) {
    let at = Local.with_ymd_and_hms(2019, 8, 29, 17, 3, second).single().expect("it was once");
    for line in lines {
        log.push_str(&format_line(Format::Text, Level::Info, line, &at));
    }
}

#[test]
fn the_originals_sample_log_is_reproduced_line_by_line() {
    let cli = Cli { instance_id: Some("1".into()), ..Cli::default() };
    let config = Config::from_cli(&cli).expect("the original's flags are good");
    let seats = Seats::new(1, 1);
    let seat = seats.seat(&Default::default()).expect("there is room");
    let mut log = String::new();
    write(&mut log, 43, &opening_lines(&config, &config.listen));

    let heard = |source: u64, weight: u64, port: u16| Heard {
        source: SourceId(source),
        weight: Weight(weight),
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        payload: Payload::Other,
    };
    // Second 44: the first source pushes. It pushes until second 49, then it is killed.
    let first = heard(1, 50, 48876);
    let change = seat.on_event(Event::Heard(first), Millis(0)).expect("the seat was empty");
    write(&mut log, 44, &change.lines());
    let presence = Presence { last_heard: Millis(49_900), ..Presence::default() };
    let candidates = [Candidate {
        heard: first,
        presence,
        rhythm: Rhythm::new(Millis(44_000)),
        continuity: Continuity::new(Millis(44_000), UnixMillis(44_000)),
        newest: None,
        owes: false,
    }];
    for second in 45..=55 {
        let (now, unix_now) = (Millis(second * 1000), UnixMillis(second as i64 * 1000));
        let (view, candidates) = (**seat.view(), &candidates);
        let group = Group { view, candidates, low: None, wish: None, is_sure: true, now, unix_now };
        let change =
            group.tick(&config.expiry).and_then(|(event, silence)| seat.on_event(event, silence));
        write(&mut log, second as u32, &change.map(|change| change.lines()).unwrap_or_default());
    }
    // Second 56: another one pushes, without a weight.
    let change = seat.on_event(Event::Heard(heard(2, 0, 48880)), Millis(0));
    write(&mut log, 56, &change.expect("the seat was empty").lines());
    assert_eq!(log, SAMPLE);
}
