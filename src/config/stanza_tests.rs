//! Endpoints as they are written, and what becomes of them.

use std::path::Path;

use super::super::named::read_text;
use super::super::queue::{OnFull, OnRemoved, OutOfOrder, QueueSetting, Sync};
use super::super::yaml;
use super::*;
use crate::base::secret::Secret;

/// The endpoints of a `remote_write`, and all faults.
fn read(text: &str) -> (Vec<Endpoint>, Vec<String>) {
    let node = yaml::read(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault:?}"));
    let mut faults = Faults::of_file("f");
    faults.stands_at("remote_write", 1);
    let named = Named::in_file(Path::new("/etc/highlander/f.yml"), |path| match path.to_str() {
        Some("/etc/highlander/password") => Ok(" geheim \n".to_owned()),
        Some("/etc/pem" | "/etc/highlander/../pem") => Ok(String::new()),
        _ => read_text(Path::new("/nowhere")),
    });
    let endpoints = endpoints(&node, Millis(20_000), &named, &mut faults);
    (endpoints, faults.into_all())
}

fn good(text: &str) -> Vec<Endpoint> {
    let (endpoints, faults) = read(text);
    assert_eq!(faults, Vec::<String>::new());
    endpoints
}

#[test]
fn a_bare_url_is_an_endpoint_with_all_defaults() {
    let endpoints = good("- url: http://a:8428/api/v1/write?k=v\n");
    let [endpoint] = &endpoints[..] else { panic!("one was written") };
    assert_eq!(endpoint.name, "a:8428");
    assert_eq!((endpoint.host.as_str(), endpoint.port), ("a", 8428));
    assert_eq!(endpoint.mount.place, Place::At(b"/api/v1/write".to_vec()));
    assert_eq!(endpoint.mount.query, b"k=v");
    assert_eq!(endpoint.remote_timeout, Millis(20_000));
    assert_eq!((&endpoint.authorization, &endpoint.tls), (&None, &None));
    assert_eq!(endpoint.delivery, Delivery::Direct);
    assert_eq!(endpoint.out_of_order, OutOfOrder::Refused);
    for bare in ["- url: http://a\n", "- url: http://a/\n"] {
        assert_eq!(good(bare)[0].mount.place, Place::Under(Vec::new()), "{bare}");
    }
}

#[test]
fn everything_that_can_be_written_is_read() {
    let endpoints = good(
        "- url: https://a/w\n  name: first\n  remote_timeout: 5s\n  headers: {X-A: b, X-N: 5}\n  \
         basic_auth: {username: me, password_file: password}\n  \
         tls_config: {ca_file: /etc/pem, cert_file: /etc/pem, key_file: ../pem, \
         server_name: b, insecure_skip_verify: true}\n  delivery: queued\n  \
         out_of_order: allowed\n  queue: {dir: q, max_size: 2GiB, sync: always, \
         max_in_flight: 8, min_backoff: 1s, max_backoff: 1m, on_full: drop_oldest, \
         on_removed: drain}\n\
         - url: http://a/w\n  authorization: {type: Token, credentials: geheim}\n  \
         delivery: queued\n  queue: {dir: /var/q, sync: 1s}\n",
    );
    let [first, second] = &endpoints[..] else { panic!("two were written") };
    assert_eq!((first.name.as_str(), first.port), ("first", 443));
    assert_eq!(first.remote_timeout, Millis(5000));
    assert_eq!(first.authorization, Some(Secret("Basic bWU6Z2VoZWlt".into())));
    let header = |name: &str, value: &str| (name.to_owned(), Secret(value.to_owned()));
    assert_eq!(first.headers, [header("X-A", "b"), header("X-N", "5")]);
    let tls = first.tls.as_ref().expect("it is https");
    assert_eq!(tls.key_file.as_deref(), Some(Path::new("/etc/highlander/../pem")));
    assert_eq!(tls.server_name.as_deref(), Some("b"));
    assert!(tls.insecure_skip_verify);
    let queue = QueueSetting {
        dir: "/etc/highlander/q".into(),
        bytes_max: 2 << 30,
        sync: Sync::Always,
        in_flight_max: 8,
        backoff_min: Millis(1000),
        backoff_max: Millis(60_000),
        on_full: OnFull::DropOldest,
        on_removed: OnRemoved::Drain,
    };
    assert_eq!(first.delivery, Delivery::Queued(queue));
    assert_eq!(first.out_of_order, OutOfOrder::Allowed);
    assert_eq!(second.authorization, Some(Secret("Token geheim".into())));
    let Delivery::Queued(queue) = &second.delivery else { panic!("it is queued") };
    assert_eq!((queue.sync, queue.on_full), (Sync::Every(Millis(1000)), OnFull::Refuse));
    assert_eq!((queue.backoff_min, queue.backoff_max), (Millis(30), Millis(5000)));
    assert_eq!((queue.in_flight_max, queue.bytes_max), (1, 10 << 30));
    let shown = format!("{endpoints:?}");
    assert!(!shown.contains("geheim") && !shown.contains("bWU6"), "{shown}");
}

#[test]
fn an_https_url_without_settings_is_still_tls() {
    assert_eq!(good("- url: https://a/w\n")[0].tls, Some(TlsSetting::default()));
}

#[test]
fn the_folder_of_a_queue_is_its_alone_and_so_is_a_name() {
    let queued =
        |url: &str| format!("- url: http://{url}/w\n  delivery: queued\n  queue:\n    dir: q\n");
    let (_, faults) = read(&format!("{}{}", queued("a"), queued("a")));
    let expected = [
        "f:5: remote_write[1].name: 'a' is the host of another endpoint too: give it a name",
        "f:8: remote_write[1].queue.dir: '/etc/highlander/q' is the folder of another queue too",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn headers_and_credentials_have_a_bound() {
    let long = "x".repeat(5000);
    let (_, faults) = read(&format!(
        "- url: http://a/w\n  headers: {{X-A: {long}}}\n  authorization: {{credentials: {long}}}\n"
    ));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].starts_with("f:2: remote_write[0].headers: take more than 8192"),
        "{faults:?}"
    );
}

#[test]
fn several_requests_may_be_under_way_whether_or_not_the_order_counts() {
    for (word, out_of_order) in [("refused", OutOfOrder::Refused), ("allowed", OutOfOrder::Allowed)]
    {
        let endpoints = good(&format!(
            "- url: http://a/w\n  delivery: queued\n  out_of_order: {word}\n  \
             queue: {{dir: q, max_in_flight: 50, sync: never}}\n"
        ));
        let Delivery::Queued(queue) = &endpoints[0].delivery else { panic!("it is queued") };
        let (rule, setting) = (queue.rule(out_of_order), queue.setting(out_of_order));
        assert_eq!((rule.in_flight_max, rule.out_of_order), (50, endpoints[0].out_of_order));
        assert_eq!((setting.sync, setting.out_of_order), (Sync::Never, out_of_order));
        assert!(setting.in_flight_max >= rule.in_flight_max, "so many are read ahead");
        let one = QueueSetting { in_flight_max: 1, ..queue.clone() }.setting(out_of_order);
        assert!((2..setting.in_flight_max).contains(&one.in_flight_max), "the next, but few");
    }
}
