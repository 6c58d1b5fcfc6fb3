//! The admin listener: what it shows, and that it shows it whatever happens elsewhere.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use highlander::cli::Cli;
use highlander::wire::remote_write::protocol::Protocol;

use crate::handover::{await_hand_overs, now_ms, write};
use crate::support::*;

pub fn with_admin(endpoint: &Endpoint) -> Proxy {
    with_admin_and(endpoint, |_| {})
}

pub fn with_admin_and(endpoint: &Endpoint, change: impl FnOnce(&mut Cli)) -> Proxy {
    Proxy::with("epoll", endpoint.address, |cli| {
        cli.admin = Some("127.0.0.1:0".into());
        change(cli);
    })
}

pub fn admin(proxy: &Proxy) -> Client {
    Client::connect(proxy.running.admin_address().expect("there is one"))
}

pub fn get(client: &mut Client, path: &str) -> Answer {
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).expect("it is text")
}

/// The value of the one sample that begins so.
pub fn value(metrics: &str, sample: &str) -> Option<f64> {
    let mut found = metrics.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let value = found.next()?;
    assert_eq!(found.next(), None, "{sample}");
    value.parse().ok()
}

/// A push of a source of a group, with names as they stand in a URL.
pub fn push_of(group: &str, tenant: &str, source: &str) -> Vec<u8> {
    format!(
        "POST /w?highlander_group={group}&highlander_source={source} HTTP/1.1\r\nHost: a\r\n\
         X-Scope-OrgID: {tenant}\r\nContent-Length: 1\r\n\r\nx"
    )
    .into_bytes()
}

/// What `promtool check metrics` thinks of a text.
pub fn promtool(metrics: &str) -> (bool, String) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().expect("tests/run installs prometheus, which brings promtool with it");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(metrics.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn metrics_tell_what_was_done_and_promtool_finds_nothing_to_say() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin(&endpoint);
    let mut client = proxy.connect();
    assert_eq!(client.ask(&push_of("g", "t", "one")).status, 204);
    assert_eq!(proxy.connect().ask(&push_of("g", "t", "two")).status, 204);
    // Names that would end a label, a line or a text, and two that look alike.
    for name in ["%22%7D%0A%5C", "%FF", "%FE", "%3Cscript%3E"] {
        assert_eq!(client.ask(&push_of(name, "t", name)).status, 204);
    }
    let answer = get(&mut admin(&proxy), "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    let metrics = text(&answer);
    for (sample, expected) in [
        ("highlander_requests_forwarded_total", 5.0),
        ("highlander_requests_standby_total", 1.0),
        ("highlander_promoted_info{tenant=\"t\",group=\"g\",source=\"one\"}", 1.0),
        ("highlander_sources{tenant=\"t\",group=\"g\"}", 2.0),
        ("highlander_leader{tenant=\"t\",group=\"g\"}", 1.0),
        ("highlander_leader{tenant=\"t\",group=\"\\\"}\\n\\\\\"}", 1.0),
        ("highlander_leader{tenant=\"t\",group=\"\u{fffd}\"}", 1.0),
        ("highlander_handover_open{tenant=\"t\",group=\"g\"}", 0.0),
    ] {
        assert_eq!(value(&metrics, sample), Some(expected), "{sample} in {metrics}");
    }
    let silence = "highlander_source_silence_seconds{tenant=\"t\",group=\"g\",source=\"two\"}";
    assert!(value(&metrics, silence).is_some_and(|silence| silence < 30.0));
    assert!(value(&metrics, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
    let (succeeded, said) = promtool(&metrics);
    assert!(succeeded && said.is_empty(), "{said}");
    proxy.running.stop();
}

#[test]
fn the_status_tells_who_is_promoted_who_is_not_and_what_a_hand_over_cost() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |cli| {
        cli.health_tick = Some("200ms".into());
        cli.health_expiry = Some("1s".into());
    });
    let status = |path: &str| -> serde_json::Value {
        let answer = get(&mut admin(&proxy), path);
        assert!(answer.head.contains("\r\nContent-Type: application/json\r\n"));
        serde_json::from_slice(&answer.body).expect("it is JSON")
    };
    let (mut one, mut two) = (proxy.connect(), proxy.connect());
    let at = now_ms() - 60_000;
    for (client, name, weight) in [(&mut one, "one", 1), (&mut two, "<b>", 7)] {
        let mut say = |at, value| client.ask(&write(name, weight, Protocol::V1, at, value)).status;
        assert_eq!((say(at, 1.0), say(at + 1000, 1.0)), (204, 204));
    }
    drop(one);
    await_hand_overs(&proxy, 1);
    let status = status("/status");
    assert_eq!((&status["ready"], &status["wrong"]), (&true.into(), &serde_json::json!([])));
    let group = &status["groups"][0];
    assert_eq!((&group["lead"], &group["promoted"]), (&"us".into(), &"<b>".into()));
    let sources = group["sources"].as_array().expect("a list");
    let of = |name: &str| sources.iter().find(|it| it["name"] == name).expect("it is remembered");
    assert_eq!((&of("<b>")["weight"], &of("<b>")["promoted"]), (&7.into(), &true.into()));
    assert_eq!((&of("one")["promoted"], &of("one")["connected"]), (&false.into(), &false.into()));
    let handover = &status["handovers"][0];
    assert_eq!((&handover["from"], &handover["to"]), (&"one".into(), &"<b>".into()));
    assert_eq!(handover["lost"], 0);
    assert_eq!(status["endpoints"][0]["addresses"][0], endpoint.address.to_string());
    let said = &status["endpoints"][0]["said"];
    assert!(said["2xx"].as_u64() >= Some(2) && said.as_object().map(|it| it.len()) == Some(1));
    assert_eq!(status["cluster"], serde_json::Value::Null);
    proxy.running.stop();
}

#[test]
fn pages_are_read_and_never_written_and_requests_follow_each_other_on_one_connection() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin(&endpoint);
    let mut client = admin(&proxy);
    for (path, status, expected) in [
        ("/-/healthy", 200, "healthy\n"),
        ("/-/ready?x=y", 200, "ready\n"),
        ("/api/v1/write", 404, "there is no such page\n"),
        ("/-/healthy/", 404, "there is no such page\n"),
    ] {
        let answer = get(&mut client, path);
        assert_eq!((answer.status, text(&answer).as_str()), (status, expected), "{path}");
    }
    client.send(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer_to("HEAD");
    assert!(answer.status == 200 && answer.body.is_empty() && !answer.head.contains("Length: 0"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let answer = client.ask(request.as_bytes());
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("\r\nAllow: GET, HEAD\r\n"), "{}", answer.head);
    }
    // A source that was given the wrong port is told so, whatever it sends, and nothing goes out.
    assert_eq!(client.ask(&push(7, b"body")).status, 404);
    assert_eq!(get(&mut client, "/-/healthy").status, 200, "the connection is as it was");
    assert!(endpoint.got().is_empty());
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", 413),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        ("GET /metrics HTTP/1.0\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ] {
        let mut client = admin(&proxy);
        assert_eq!(client.ask(request.as_bytes()).status, status, "{request:?}");
        client.assert_closed();
    }
    // The answer is read also by who has much more to say, or waits before it says it.
    let mut client = admin(&proxy);
    let answer = client.ask(&push(7, &body(3_000_000)));
    assert_eq!(answer.status, 413);
    let mut client = admin(&proxy);
    client.send(
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    );
    assert_eq!(client.answer().status, 405);
    proxy.running.stop();
}

#[test]
fn a_browser_gets_the_page_and_a_program_the_figures() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin(&endpoint);
    let mut client = admin(&proxy);
    let mut ask = |method: &str, path: &str, accept: &str| {
        let accept =
            if accept.is_empty() { String::new() } else { format!("Accept: {accept}\r\n") };
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{accept}\r\n").as_bytes());
        client.answer_to(method)
    };
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let figures = ask("GET", "/api/v1/status", BROWSER);
    assert!(figures.head.contains("\r\nContent-Type: application/json\r\n"), "{}", figures.head);
    for path in ["/", "/status", "/status?x=y"] {
        let page = ask("GET", path, BROWSER);
        assert_eq!(page.status, 200);
        let policy = page.head.split("\r\nContent-Security-Policy: ").nth(1).expect("there is one");
        let policy = policy.split("\r\n").next().unwrap_or_default();
        let nonce = policy.split("script-src 'nonce-").nth(1).and_then(|it| it.split('\'').next());
        let nonce = nonce.expect("the script has one");
        assert_eq!(nonce.len(), 24, "{policy}");
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
                 connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                 frame-ancestors 'none'"
            )
        );
        for header in [
            "Content-Type: text/html; charset=utf-8",
            "Vary: Accept",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
        ] {
            assert!(page.head.contains(&format!("\r\n{header}\r\n")), "{header}: {}", page.head);
        }
        assert!(text(&page).contains(&format!("<script nonce=\"{nonce}\">")));
        let other = ask("GET", path, BROWSER);
        assert!(!other.head.contains(nonce), "each answer has its own");
        let head = ask("HEAD", path, BROWSER);
        assert!(head.body.is_empty() && head.head.len() == page.head.len(), "{}", head.head);
        assert_eq!(ask("POST", path, BROWSER).status, 405);
    }
    for accept in
        ["", "*/*", "application/json", "application/json, text/html;q=0.9", "text/html;q=0"]
    {
        let answer = ask("GET", "/status", accept);
        assert!(answer.head.contains("\r\nContent-Type: application/json\r\n"), "{accept}");
        assert!(answer.head.contains("\r\nVary: Accept\r\n"));
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&answer.body)
                .ok()
                .map(|it| it["ready"].clone()),
            Some(true.into())
        );
        let answer = ask("GET", "/", accept);
        assert!(
            text(&answer).starts_with("highlander\n")
                && answer.head.contains("\r\nVary: Accept\r\n")
        );
    }
    assert_eq!(ask("GET", "/metrics", "text/html").head.matches("text/plain").count(), 1);
    proxy.running.stop();
}

#[test]
fn an_endpoint_that_answers_5xx_shows_though_its_answers_are_passed_on() {
    let endpoint = Endpoint::start(|got| match &got.body[..] {
        b"x" => b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
    });
    let proxy = with_admin(&endpoint);
    let mut client = proxy.connect();
    let at = now_ms();
    for (request, status) in
        [(push(7, b"x"), 503), (push(7, b"y"), 400), (write("a", 9, Protocol::V1, at, 1.0), 400)]
    {
        assert_eq!(client.ask(&request).status, status);
    }
    let metrics = text(&get(&mut admin(&proxy), "/metrics"));
    assert_eq!(value(&metrics, "highlander_endpoint_refusals_total"), Some(1.0));
    assert_eq!(value(&metrics, "highlander_endpoint_failures_total"), Some(0.0));
    proxy.running.stop();
}

#[test]
fn who_is_about_to_end_is_not_ready_and_not_ill() {
    // It answers after a while, for which the end waits.
    let endpoint = Endpoint::start(|_| {
        std::thread::sleep(Duration::from_secs(2));
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
    });
    let proxy = with_admin(&endpoint);
    let (mut client, mut admin) = (proxy.connect(), admin(&proxy));
    client.send(&push(7, b"x"));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(get(&mut admin, "/-/ready").status, 200);
    let stopping = std::thread::spawn(move || proxy.running.stop());
    std::thread::sleep(Duration::from_millis(300));
    let answer = get(&mut admin, "/-/ready");
    assert_eq!((answer.status, text(&answer).as_str()), (503, "it is about to end\n"));
    assert_eq!(get(&mut admin, "/-/healthy").status, 200);
    assert_eq!(client.answer().status, 204);
    stopping.join().expect("it ends");
}

#[test]
fn more_connections_than_there_may_be_are_turned_away_and_idle_ones_end_with_the_server() {
    let endpoint = Endpoint::storage();
    let proxy = with_admin(&endpoint);
    let max = highlander::base::limits::ADMIN_CONNECTIONS_MAX;
    let mut all: Vec<Client> = (0..max).map(|_| admin(&proxy)).collect();
    assert!(all.iter_mut().all(|client| get(client, "/-/healthy").status == 200));
    let mut further = admin(&proxy);
    assert_eq!(further.answer().status, 503);
    further.assert_closed();
    drop(all.pop());
    until("there is room again", || {
        let mut client = admin(&proxy);
        client.send(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.answer().status == 200
    });
    proxy.running.stop();
    all.iter_mut().for_each(Client::assert_closed);
}

#[test]
fn who_does_not_know_the_cluster_yet_is_healthy_and_not_ready() {
    // Nobody is there; or nobody knows where it is, and it may lead all the same.
    for peer in ["127.0.0.1:1", "nobody.invalid:1"] {
        await_peer(peer);
    }
}

fn await_peer(peer: &str) {
    let endpoint = Endpoint::storage();
    let proxy = with_admin_and(&endpoint, |cli| {
        cli.cluster_bind = Some("127.0.0.1:0".into());
        cli.cluster_connect = Some(peer.into());
        cli.cluster_settle = Some("2s".into());
    });
    let mut client = admin(&proxy);
    let answer = get(&mut client, "/-/ready");
    assert_eq!(answer.status, 503);
    assert_eq!(text(&answer), "it does not know yet how the groups of the cluster stand\n");
    assert_eq!(get(&mut client, "/-/healthy").status, 200);
    assert!(text(&get(&mut client, "/metrics")).contains("\nhighlander_cluster_settled 0\n"));
    let mut source = proxy.connect();
    source.send(&write("a", 9, Protocol::V1, now_ms(), 1.0));
    std::thread::sleep(Duration::from_secs(2));
    until("it is ready", || get(&mut client, "/-/ready").status == 200);
    let metrics = text(&get(&mut client, "/metrics"));
    assert!(metrics.contains("\nhighlander_cluster_settled 1\n"));
    assert_eq!(source.answer().status, 204);
    // Once, however often it was looked at meanwhile.
    assert_eq!(value(&metrics, "highlander_requests_parked_total"), Some(1.0));
    assert!(metrics.contains("\nhighlander_cluster_members 1\n"));
    proxy.running.stop();
}
