//! The status page in a real Chromium: what is seen of a failover, that names from outside stay text, that
//! its buttons ask for what they say, and that it bears many groups and little room.
//!
//! `tests/run` installs Chromium and its driver; if one is missing the test fails. With
//! `HIGHLANDER_SCREENS=DIR` pictures of the page are written there.

#[path = "browser/driver.rs"]
mod driver;
#[path = "browser/fake.rs"]
mod fake;
#[expect(dead_code, reason = "what other tests use of it")]
#[path = "real/program.rs"]
mod program;
#[path = "browser/scene.rs"]
mod scene;
#[path = "browser/stage.rs"]
mod stage;
#[expect(dead_code, reason = "what other tests use of it")]
#[path = "proxy/support.rs"]
mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use driver::Browser;
use fake::Fake;
use program::fresh_dir;
use stage::Stage;

/// The names that would run something if they became markup, and as they stand in a URL.
const HOSTILE: [(&str, &str); 2] = [
    ("<img src=x onerror=window.hacked=1>", "%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E"),
    ("\"><script>window.hacked=1</script>", "%22%3E%3Cscript%3Ewindow.hacked%3D1%3C%2Fscript%3E"),
];

/// Marks the page, so that a reload would show.
const MARK: &str = "window.isTheSame = true";

/// What is seen of the source that is promoted in the first group.
const PROMOTED: &str = "document.querySelector('tr.on td')?.textContent";

#[test]
fn a_failover_is_seen_as_it_happens_and_that_the_node_is_gone_too() {
    let mut stage = Stage::set("failover");
    let heavy = stage.source("acme", "metrics", "alpha", 50);
    let browser = Browser::start(&stage.dir);
    browser.open(&stage.url());
    browser.run(MARK);
    browser.until(&format!("{PROMOTED} === 'alpha'"));
    let _light = stage.source("acme", "metrics", "beta", 10);
    browser.until("document.querySelectorAll('#groups tbody tr').length === 2");
    browser.until_text("All is well");
    // The standby has something to say for the time in between.
    std::thread::sleep(Duration::from_secs(2));
    drop(heavy);
    browser.until(&format!("{PROMOTED} === 'beta'"));
    browser.until("document.querySelectorAll('#handovers tbody tr').length >= 1");
    let row = browser.run("return document.querySelector('#handovers tbody tr').innerText");
    let row = row.as_str().unwrap_or_default();
    for part in ["metrics, tenant acme", "alpha → beta", "silence"] {
        assert!(row.contains(part), "{part} in {row}");
    }
    browser.assert_no_errors();
    stage.kill();
    browser.until_text("This node does not answer any more.");
    browser.until_text("It was last heard at ");
    assert!(browser.holds("window.isTheSame"), "the page was loaded anew");
}

#[test]
fn names_from_outside_stay_text() {
    let stage = Stage::set("hostile");
    let sources: Vec<_> =
        HOSTILE.iter().map(|(_, coded)| stage.source("t", coded, coded, 7)).collect();
    let browser = Browser::start(&stage.dir);
    browser.open(&stage.url());
    browser.until("document.querySelectorAll('#groups tbody tr').length === 2");
    let names = browser.run(
        "const rows = [...document.querySelectorAll('#groups tbody tr')];
        return rows.map((it) => it.cells[0].textContent).sort()",
    );
    let mut expected = HOSTILE.map(|(name, _)| name);
    expected.sort();
    assert_eq!(names, json!(expected));
    for (name, _) in HOSTILE {
        browser.until_text(name);
    }
    // The dialog names them too.
    browser.run("document.querySelector('#groups tbody tr .do button:last-child').click()");
    browser.until("document.querySelector('#ask').open");
    assert!(browser.text().contains("window.hacked=1"));
    assert!(browser.holds("window.hacked === undefined"));
    assert_eq!(browser.run("return document.querySelectorAll('img').length"), json!(0));
    assert_eq!(browser.run("return document.scripts.length"), json!(1));
    // Even if one found a way in, the browser would not run it.
    browser.assert_no_errors();
    browser.run(
        "const it = document.createElement('script');
        it.textContent = 'window.hacked = 1';
        document.body.append(it)",
    );
    assert!(browser.holds("window.hacked === undefined"), "the policy forbids it");
    drop(sources);
}

#[test]
fn a_click_on_promote_asks_first_and_then_the_seat_changes_hands() {
    let stage = Stage::set("promote");
    let _first = stage.source("acme", "metrics", "alpha", 50);
    let browser = Browser::start(&stage.dir);
    browser.open(&stage.url());
    browser.until(&format!("{PROMOTED} === 'alpha'"));
    let _other = stage.source("acme", "metrics", "beta", 50);
    browser.until("document.querySelectorAll('#groups tbody tr').length === 2");
    click_promote(&browser);
    browser.until_text("Promote beta in metrics, tenant acme?");
    let asked = "performance.getEntriesByType('resource').filter((it) => it.name.includes('/-/'))";
    assert_eq!(
        browser.run(&format!("return {asked}.length")),
        json!(0),
        "not before it is confirmed"
    );
    browser.click("#ask-yes");
    browser.until("document.querySelector('#ask-answer').textContent");
    let path = format!("{}-/promote?tenant=acme&group=metrics&source=beta", stage.url());
    assert_eq!(browser.run(&format!("return {asked}.map((it) => it.name)")), json!([path]));
    browser.click("#ask-no");
    browser.until("!document.querySelector('#ask').open");
    browser.until(&format!("{PROMOTED} === 'beta'"));
}

#[test]
fn a_wish_goes_out_as_a_post_with_its_names_encoded_and_the_answer_is_shown_as_text() {
    let (name, coded) = HOSTILE[0];
    let mut document = fake::empty();
    let sources =
        vec![fake::source("a", 50, None, 300), fake::source(name, 10, Some("a is heavier"), 300)];
    let mut pinned = fake::group("t & u", "größe", "a", sources);
    pinned["pinned"] = true.into();
    document["groups"] = json!([pinned]);
    let fake = Fake::start(document);
    let browser = Browser::start(&fresh_dir("browser-wish"));
    browser.open(&fake.url());
    browser.until(&format!("{PROMOTED} === 'a'"));
    browser.until_text("a is heavier");
    click_promote(&browser);
    browser.click("#ask-no");
    assert_eq!(fake.wishes(), Vec::<String>::new());
    click_promote(&browser);
    browser.click("#ask-yes");
    browser.until_text("<b>it</b> has the seat");
    browser.click("#ask-no");
    browser.click(".group > header > button");
    browser.until_text("Unpin größe, tenant t & u?");
    browser.click("#ask-yes");
    browser.until_text("there is no such source");
    let names = "tenant=t+%26+u&group=gr%C3%B6%C3%9Fe";
    let coded = coded.replace("%20", "+");
    let wishes = fake.wishes();
    let expected =
        [format!("POST /-/promote?{names}&source={coded} "), format!("POST /-/unpin?{names} ")];
    assert_eq!(wishes.len(), 2, "{wishes:#?}");
    for (wish, expected) in wishes.iter().zip(expected) {
        assert!(wish.starts_with(&expected), "{expected} in {wish}");
        // By these a server tells the page from a stranger's.
        let origin = format!("\r\nOrigin: {}\r\n", fake.url().trim_end_matches('/'));
        assert!(wish.contains(&origin) && wish.contains("\r\nSec-Fetch-Site: same-origin\r\n"));
    }
    assert!(browser.holds("window.hacked === undefined"));
}

#[test]
fn five_hundred_groups_are_updated_in_a_moment_and_filtered_and_opened() {
    let fake = Fake::start(fake::many(500, 0));
    let browser = Browser::start(&fresh_dir("browser-many"));
    browser.open(&fake.url());
    browser.until_text("group-099");
    assert!(browser.holds("document.querySelectorAll('.group').length === 100"));
    // It is told of changes without a reload, and trouble stands first.
    let mut troubled = fake::many(500, 1);
    troubled["groups"][321]["promoted"] = Value::Null;
    fake.show(troubled);
    browser.until("document.querySelector('.group .name').textContent === 'group-321'");
    browser.until_text("nothing is promoted in group-321, tenant acme");
    // As a person who wants to see all of it, which is the most there is to do.
    let update = "const turns = arguments[0], times = [];
        for (const turn of turns) {
            seen = turn;
            const begun = performance.now();
            draw();
            document.body.offsetHeight;
            times.push(performance.now() - begun);
        }
        return times";
    let turns: Vec<Value> = (2..7).map(|turn| fake::many(500, turn)).collect();
    for (what, before) in [
        ("100 listed, all closed", ""),
        ("500 listed, all closed", "listed = 500"),
        ("500 listed, all open", "for (const it of seen.groups) opened.set(keyOfGroup(it), true)"),
    ] {
        browser.run(before);
        let times = browser.run_with(update, &json!([turns]));
        let times: Vec<f64> =
            times.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        // The first of them makes what is new on the page.
        let longest = times.iter().skip(1).copied().fold(0.0, f64::max);
        let first = times.first().copied().unwrap_or_default();
        note(&format!(
            "500 groups of 4, {what}: first {first:.0} ms, then {longest:.0} ms at most"
        ));
        assert!(times.len() == 5 && first.max(longest) < 2000.0, "{what}: {times:?}");
    }
    browser.run("opened.clear(); listed = 100");
    let filter = |text: &str| {
        browser.run_with(
            "const filter = document.querySelector('#filter');
            filter.value = arguments[0];
            filter.dispatchEvent(new Event('input'))",
            &json!([text]),
        )
    };
    filter("GROUP-4");
    browser.until("document.querySelectorAll('.group').length === 100");
    filter("group-42");
    browser.until("document.querySelectorAll('.group tbody tr').length === 40");
    browser.click(".toggle");
    browser.until("document.querySelectorAll('.detail:not([hidden])').length === 9");
    browser.assert_no_errors();
}

#[test]
fn a_row_stays_the_same_element_while_its_figures_change() {
    let fake = Fake::start(fake::many(3, 0));
    let browser = Browser::start(&fresh_dir("browser-same"));
    browser.open(&fake.url());
    browser.until_text("group-002");
    browser.run(
        "document.querySelector('.group:nth-child(2) .do button').focus();
        window.wasFocused = document.activeElement",
    );
    let mut next = fake::many(4, 9);
    // It goes first now; the others stay where they are.
    next["groups"][2]["lead"] = "nobody".into();
    fake.show(next);
    browser.until("document.querySelectorAll('.group').length === 4");
    browser.until("document.querySelector('.group .name').textContent === 'group-002'");
    assert!(browser.holds("document.activeElement === window.wasFocused"), "the focus is lost");
    fake.show(fake::many(1, 10));
    browser.until("document.querySelectorAll('.group').length === 1");
    fake.show(fake::empty());
    browser.until_text("No source has pushed yet.");
    browser.assert_no_errors();
}

#[test]
fn a_page_that_nobody_sees_asks_nothing_and_one_that_is_seen_again_asks_at_once() {
    let fake = Fake::start(fake::many(1, 0));
    let browser = Browser::start(&fresh_dir("browser-hidden"));
    browser.open(&fake.url());
    browser.until_text("group-000");
    let turn = |hidden: bool| {
        browser.run_with(
            "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true });
            document.dispatchEvent(new Event('visibilitychange'))",
            &json!([hidden]),
        )
    };
    turn(true);
    // What was under way comes to its end.
    std::thread::sleep(Duration::from_secs(1));
    let before = fake.looks();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(fake.looks(), before);
    turn(false);
    support::until("it asks again", || fake.looks() > before + 1);
}

#[test]
fn nothing_sticks_out_on_a_phone() {
    let fake = Fake::start(scene::document());
    let browser = Browser::start(&fresh_dir("browser-phone"));
    browser.resize(360, 740);
    browser.open(&fake.url());
    browser.until_text("is heavier");
    assert_no_sideways(&browser);
    click_promote(&browser);
    browser.until("document.querySelector('#ask').open");
    assert_no_sideways(&browser);
    browser.assert_no_errors();
}

#[test]
fn pictures_are_taken_if_they_are_wanted() {
    let Some(dir) = std::env::var_os("HIGHLANDER_SCREENS").map(PathBuf::from) else { return };
    let fake = Fake::start(scene::document());
    let browser = Browser::start(&fresh_dir("browser-screens"));
    for (name, scheme, width, height) in [
        ("light", "light", 1180, 1640),
        ("dark", "dark", 1180, 1640),
        ("narrow", "light", 390, 1400),
    ] {
        browser.prefer(scheme);
        browser.resize(width, height);
        browser.open(&fake.url());
        browser.until_text("is heavier");
        browser.screenshot(&dir.join(format!("{name}.png")));
    }
    browser.assert_no_errors();
}

/// Clicks on the button of the first source that can be promoted.
fn click_promote(browser: &Browser) {
    browser.click("#groups tbody tr:not(.on) .do button");
}

fn assert_no_sideways(browser: &Browser) {
    let width = browser.run("return document.documentElement.scrollWidth");
    assert!(width.as_u64().is_some_and(|width| width <= 360), "{width}");
}

/// Says something whether the test passes or not: libtest swallows what a passing test prints.
fn note(what: &str) {
    let _ = writeln!(std::io::stderr(), "browser: {what}");
}
