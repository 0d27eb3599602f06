//! A headless browser, driven over the W3C WebDriver protocol: JSON over HTTP to chromedriver.
//!
//! Invariants:
//! 1. The browser reaches loopback only, with a profile of its own that goes with the test.
//! 2. When the guard goes the session is ended first, so that the browser ends by itself, and then
//!    chromedriver is killed by its id.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use crate::broker::loopback;
use crate::process::Process;
use crate::tool::{CHROMEDRIVER, CHROMIUM};
use crate::wait::BOUND;

/// Says which names exist: none but localhost and its address.
const LOOPBACK_ONLY: &str = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1";

/// A page in a browser. See the module.
pub struct Browser {
    address: SocketAddr,
    session: String,
    _driver: Process,
    _profile: tempfile::TempDir,
}

/// A key without a character (WebDriver 17.4.2).
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// To the next place.
    Tab,
    /// To choose.
    Enter,
    /// Back.
    Escape,
    /// Down.
    ArrowDown,
}

impl Key {
    fn code(self) -> char {
        match self {
            Key::Tab => '\u{e004}',
            Key::Enter => '\u{e007}',
            Key::Escape => '\u{e00c}',
            Key::ArrowDown => '\u{e015}',
        }
    }
}

impl Browser {
    /// Starts one; `None` when `test` is to return, which was said.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn start(test: &str) -> Option<Browser> {
        let (chromium, chromedriver) = (CHROMIUM.find(test)?, CHROMEDRIVER.find(test)?);
        let driver = Process::start(Command::new(chromedriver).arg("--port=0"));
        let port = driver.stdout.find(|line| {
            line.contains("successfully")
                .then(|| line.trim_end_matches('.').rsplit(' ').next()?.parse().ok())?
        });
        let address = loopback(port.expect("chromedriver says its port"));
        let profile = tempfile::tempdir().expect("a temporary directory");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            LOOPBACK_ONLY,
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
        });
        let body = json!({ "capabilities": { "alwaysMatch": wanted } });
        let made = ask(address, "POST", "/session", Some(&body)).expect("a browser session");
        let session = format!("/session/{}", made["sessionId"].as_str().expect("a session id"));
        Some(Browser { address, session, _driver: driver, _profile: profile })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        ask(self.address, "POST", &path, Some(body)).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Opens an address and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page and gives what it returns, awaited if it is a promise.
    ///
    /// # Panics
    /// When it throws.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// As [`Browser::run`], as text; empty for anything that is none.
    pub fn text(&self, script: &str) -> String {
        self.run(script).as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key and lets go of it.
    pub fn press(&self, key: Key) {
        let key = key.code();
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Gives the page this size in CSS pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// What the page wrote to its console, and what the browser complains of, since the last time.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        let line =
            |entry: &Value| format!("{} {}", entry["level"].as_str()?, entry["message"].as_str()?).into();
        entries.as_array().into_iter().flatten().filter_map(line).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = ask(self.address, "DELETE", &self.session, None);
    }
}

/// One command; its value, or what is wrong.
fn ask(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let body = exchange(address, method, path, body).map_err(|error| error.to_string())?;
    let mut answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    match value.get("error").filter(|error| error.is_string()) {
        Some(error) => Err(format!("{error}: {}", value["message"])),
        None => Ok(value),
    }
}

/// One request; the answer's body. chromedriver leaves the connection open, so its length counts.
fn exchange(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while answer.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(body)
}
