use super::*;

const HEADER: &str = r#""header":{"cluster_id":"1","member_id":"16276117041951218574","revision":"7","raft_term":"3"}"#;
const ORIGIN: Origin = Origin { member: 16_276_117_041_951_218_574, term: 3 };

fn read(body: &str) -> Result<Answer, AnswerError> {
    Answer::read(200, body.as_bytes())
}

fn good(body: &str) -> Answer {
    read(body).expect("a good answer")
}

/// One key in a range, of the cluster `a`, with this name behind the prefix.
fn held(name: &str) -> String {
    let key = coded(format!("highlander/a/{name}"));
    let (value, life) =
        (coded("node 1"), r#""create_revision":"5","mod_revision":"5","version":"1""#);
    format!(r#"{{"key":"{key}",{life},"value":"{value}","lease":"7587862072907233294"}}"#)
}

fn range(entries: &[String]) -> String {
    format!("{{{HEADER},\"kvs\":[{}],\"count\":\"{}\"}}", entries.join(","), entries.len())
}

#[test]
fn requests_are_written_as_the_gateway_wants_them() {
    let text = |request: Vec<u8>| String::from_utf8(request).expect("JSON is UTF-8");
    assert_eq!(text(grant(3)), r#"{"TTL":"3"}"#);
    assert_eq!(text(lease(LeaseId(i64::MAX))), r#"{"ID":"9223372036854775807"}"#);
    assert_eq!(text(login("a\"", "b")), r#"{"name":"a\"","password":"b"}"#);
    let names = Names::of("a");
    let (from, to) = (coded("highlander/a/"), coded("highlander/a0"));
    let limit = LEASE_ENTRIES_PER_PAGE;
    let range = |from: &str, revision: u32| {
        let rest = format!(r#""limit":"{limit}","range_end":"{to}","revision":"{revision}""#);
        format!(r#"{{"key":"{from}",{rest}}}"#)
    };
    assert_eq!(text(names.range(None)), range(&from, 0));
    let place = Place { after: b"highlander/a/00".to_vec(), revision: Revision(7) };
    let behind = coded("highlander/a/00\0");
    assert_eq!(text(names.range(Some(&place))), range(&behind, 7));
    let take = names.take(&[Key(10), Key(11)], b"me", LeaseId(9));
    let take: Value = serde_json::from_slice(&take).expect("JSON");
    let step = &take["success"][1]["request_txn"];
    let name = coded("highlander/a/000000000000000b");
    let free = json!({"key": name, "target": "CREATE", "create_revision": "0"});
    assert_eq!(step["compare"], json!([free]));
    let put = json!({"key": name, "value": coded("me"), "lease": "9"});
    assert_eq!(step["success"], json!([{"request_put": put}]));
    let give = names.give(&[(Key(11), Revision(5))]);
    let give: Value = serde_json::from_slice(&give).expect("JSON");
    let step = &give["success"][0]["request_txn"];
    let same = json!({"key": name, "target": "CREATE", "create_revision": "5"});
    assert_eq!(step["compare"], json!([same]));
    assert_eq!(step["success"], json!([{"request_delete_range": {"key": name}}]));
}

#[test]
fn answers_are_read_with_what_is_zero_left_out() {
    let granted = good(&format!("{{{HEADER},\"ID\":\"7\",\"TTL\":\"3\"}}")).granted();
    assert_eq!(granted, Ok(Granted { lease: LeaseId(7), ttl_seconds: 3 }));
    let renewed = |ttl: &str| good(&format!("{{\"result\":{{{HEADER},\"ID\":\"7\"{ttl}}}}}\n"));
    let expected = |ttl_seconds| Ok(Renewed { origin: ORIGIN, ttl_seconds });
    assert_eq!(renewed(r#","TTL":"3""#).renewed(LeaseId(7)), expected(3));
    assert_eq!(renewed(r#","TTL":3,"new":{"field":[]}"#).renewed(LeaseId(7)), expected(3));
    for gone in ["", r#","TTL":"0""#, r#","TTL":"-1""#, r#","TTL":null"#] {
        assert_eq!(renewed(gone).renewed(LeaseId(7)), expected(0), "{gone}");
    }
    assert!(renewed(r#","TTL":"3""#).renewed(LeaseId(8)).is_err());
    assert_eq!(good(&format!("{{{HEADER},\"token\":\"a.b\"}}")).token(), Ok("a.b"));
}

#[test]
fn a_range_tells_who_holds_the_keys_of_this_cluster_and_of_no_other() {
    let names = Names::of("a");
    let none = good(&format!("{{{HEADER}}}")).page(&names, None);
    let page = |entries| Ok(Page { seen: Seen { origin: ORIGIN, entries }, next: None });
    assert_eq!(none, page(Vec::new()));
    let foreign = ["b/00000000000000ff", "ff", "00000000000000FF", "+0000000000000ff", "x", ""];
    let mut entries: Vec<String> = foreign.iter().map(|name| held(name)).collect();
    entries.push(held("00000000000000ff"));
    let entry = Entry {
        key: Key(255),
        holder: b"node 1".to_vec(),
        lease: LeaseId(7_587_862_072_907_233_294),
        created: Revision(5),
    };
    assert_eq!(good(&range(&entries)).page(&names, None), page(vec![entry]));
}

#[test]
fn a_range_goes_on_behind_the_last_key_as_of_the_moment_of_its_first_page() {
    let names = Names::of("a");
    // The last is another cluster's.
    let more = |revision: &str| {
        let page = range(&[held("00000000000000fe"), held("b/00000000000000ff")]);
        let page = page.replacen("\"count\"", "\"more\":true,\"count\"", 1);
        good(&page.replacen("\"revision\":\"7\"", &format!("\"revision\":\"{revision}\""), 1))
    };
    let after = b"highlander/a/b/00000000000000ff".to_vec();
    let place = Place { after, revision: Revision(7) };
    let first = more("7").page(&names, None).expect("a page");
    assert_eq!((first.seen.entries.len(), first.next.as_ref()), (1, Some(&place)));
    let second = more("9").page(&names, Some(&place)).expect("a page");
    assert_eq!(second.next, Some(place));
}

#[test]
fn what_is_no_answer_of_etcd_is_refused() {
    let names = Names::of("a");
    let whole = range(&[held("00000000000000ff")]);
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "{length}");
    }
    assert!(
        read(&whole.replace("\"5\"", "5")).is_ok_and(|answer| answer.page(&names, None).is_ok())
    );
    let wrong = [
        ("\"create_revision\":\"5\"", "\"create_revision\":\"99999999999999999999\""),
        ("\"create_revision\":\"5\"", "\"create_revision\":1e400"),
        ("\"create_revision\":\"5\"", "\"create_revision\":5.5"),
        ("\"create_revision\":\"5\"", "\"create_revision\":[]"),
        ("\"lease\":\"75", "\"lease\":\"x75"),
        ("\"value\":\"", "\"value\":\"!"),
        ("\"key\":\"", "\"key\":7,\"x\":\""),
        ("\"kvs\":[", "\"kvs\":7,\"x\":["),
        ("\"member_id\":\"16", "\"member_id\":\"-16"),
        ("\"raft_term\":\"3\"", "\"raft_term\":\"0\""),
        ("\"header\"", "\"heads\""),
        ("\"count\"", "\"more\":1,\"count\""),
    ];
    for (right, wrong) in wrong {
        let body = whole.replacen(right, wrong, 1);
        assert_ne!(body, whole, "{right}");
        let seen = read(&body).and_then(|answer| answer.page(&names, None));
        assert!(matches!(seen, Err(AnswerError::Malformed(_))), "{wrong}: {seen:?}");
    }
    for body in ["", "null", "[]", "7", "\"x\"", "{} {}", "<html>", "\u{0}", &"[".repeat(100_000)] {
        assert!(matches!(read(body), Err(AnswerError::Malformed(_))), "{body:.20}");
    }
    let endless = good(&format!("{{{HEADER},\"more\":true}}"));
    assert!(endless.page(&names, None).is_err());
    let empty = good("{}");
    assert!(empty.granted().is_err() && empty.renewed(LeaseId(0)).is_err());
    assert!(empty.page(&names, None).is_err() && empty.token().is_err());
    assert!(good("{\"token\":\"a\\r\\nb: c\"}").token().is_err());
    assert!(Answer::read(200, b"{\"\xff\":1}").is_err());
}

#[test]
fn a_refusal_says_whether_a_login_or_a_new_lease_helps() {
    let refused =
        |status, body: &str| Answer::read(status, body.as_bytes()).expect_err("a refusal");
    let error = |code: i32, text: &str| {
        format!(r#"{{"error":"etcdserver: {text}","code":{code},"message":"etcdserver: {text}"}}"#)
    };
    for (status, code, text) in [
        (401, 16, "invalid auth token"),
        (400, 3, "user name is empty"),
        (400, 3, "revision of auth store is old"),
    ] {
        assert_eq!(refused(status, &error(code, text)), AnswerError::LoginNeeded, "{text}");
    }
    let gone = refused(404, &error(5, "requested lease not found"));
    assert_eq!(gone, AnswerError::LeaseGone);
    let failed = "authentication failed, invalid user ID or password";
    let words = format!("etcdserver: {failed}");
    assert_eq!(refused(400, &error(3, failed)), AnswerError::Refused(400, words));
    let inner = r#"{"error":{"grpc_code":14,"http_code":503,"message":"no leader"}}"#;
    assert_eq!(refused(200, inner), AnswerError::Refused(200, "no leader".into()));
    let nothing = AnswerError::Refused(502, "without a reason".into());
    assert_eq!(refused(502, "<html>\n"), nothing);
    assert_eq!(refused(502, "{\"error\":[7]}"), nothing);
    let AnswerError::Refused(_, long) = refused(500, &error(2, &"\\n".repeat(999))) else {
        panic!("it is refused");
    };
    assert_eq!(long, format!("{:MESSAGE_CHARS_MAX$}", "etcdserver:"));
}
