//! A real Chromium, steered by WebDriver: JSON over plain HTTP to its chromedriver.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::program::{Program, free_port};
use crate::support::{Got, read_request};

/// How long anything may take to appear on the page: the machine may be busy with a compiler.
pub const APPEARS: Duration = Duration::from_secs(30);

/// How long chromedriver may take for one answer; the start of a browser is the slowest.
const ANSWER_MAX: Duration = Duration::from_secs(90);

/// A browser with one tab.
pub struct Browser {
    address: SocketAddr,
    session: String,
    // Declared last: the session is ended before.
    _chromedriver: Program,
}

impl Browser {
    /// Starts one whose files lie in `dir`.
    pub fn start(dir: &Path) -> Browser {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let port = format!("--port={}", address.port());
        let mut chromedriver =
            Program::start(dir, "chromedriver", Path::new("/usr/bin/chromedriver"), &[port]);
        chromedriver.await_ready(|| TcpStream::connect(address).is_ok());
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            "--hide-scrollbars",
            // It is to ask the page that it is given, and nobody else.
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
            &format!("--user-data-dir={}", dir.join("profile").display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args, "binary": bound_to_its_driver(dir) },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = ask(address, "POST", "/session", &wanted)["sessionId"].clone();
        let session = session.as_str().expect("a session has a name").to_owned();
        Browser { address, session, _chromedriver: chromedriver }
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs a script in the page: what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.run_with(script, &json!([]))
    }

    /// The same with arguments.
    pub fn run_with(&self, script: &str, arguments: &Value) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Whether an expression is true in the page.
    pub fn holds(&self, expression: &str) -> bool {
        self.run(&format!("return Boolean({expression})")) == Value::Bool(true)
    }

    /// Waits until an expression is true in the page.
    pub fn until(&self, expression: &str) {
        let deadline = Instant::now() + APPEARS;
        while !self.holds(expression) {
            if Instant::now() >= deadline {
                let (page, console) = (self.text(), self.console());
                panic!("never: {expression}; the page says\n{page}\nand the console {console:#}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a text is shown in one place of the page, be it further down than the window.
    pub fn until_text(&self, text: &str) {
        self.until(&format!(
            "[...document.querySelectorAll('body *')].some((it) => it.children.length === 0 \
             && it.textContent.includes({}) && it.checkVisibility())",
            json!(text)
        ));
    }

    /// Everything that is seen on the page.
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on what a CSS selector finds, as a person would: where something else lies above it, it
    /// fails.
    pub fn click(&self, selector: &str) {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|it| it.values().next()).and_then(Value::as_str);
        let id = id.expect("an element has a name");
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Makes the page so wide and so high, in CSS pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Says whether the person likes it `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Writes what is seen as a PNG.
    pub fn screenshot(&self, path: &PathBuf) {
        let coded = ask(self.address, "GET", &self.path("/screenshot"), &Value::Null);
        let picture = BASE64_STANDARD.decode(coded.as_str().expect("base64")).expect("base64");
        fs::write(path, picture).expect("the directory is there");
    }

    /// Checks that the console has nothing to say.
    pub fn assert_no_errors(&self) {
        assert_eq!(self.console(), json!([]));
    }

    /// What the console has said since this was last asked.
    fn console(&self) -> Value {
        self.post("/se/log", &json!({ "type": "browser" }))
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        ask(self.address, "POST", &self.path(path), body)
    }

    fn path(&self, path: &str) -> String {
        format!("/session/{}{path}", self.session)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nothing here may panic: a test that fails would leave its browser behind.
        let _ = exchange(self.address, "DELETE", &self.path(""), &Value::Null);
    }
}

/// A program that is Chromium and ends with whoever has started it, however that ends.
fn bound_to_its_driver(dir: &Path) -> PathBuf {
    let program = dir.join("chromium");
    fs::write(
        &program,
        "#!/bin/sh\nHOME=${0%/*} exec setpriv --pdeathsig KILL -- chromium \"$@\"\n",
    )
    .expect("the directory is there");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it is our own");
    program
}

/// The value of chromedriver's answer.
fn ask(address: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let answer = exchange(address, method, path, body).expect("chromedriver listens");
    let answer = answer.unwrap_or_else(|| panic!("no answer to {path}"));
    let mut told: Value = serde_json::from_slice(&answer.body).expect("it answers in JSON");
    assert!(answer.head.starts_with("HTTP/1.1 200 "), "{path}: {told:#}");
    told["value"].take()
}

/// The answer, if there is one in time.
fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
) -> io::Result<Option<Got>> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(request.as_bytes())?;
    // An answer has an end as a request has one.
    Ok(read_request(&mut stream, &mut Vec::new(), 0))
}
