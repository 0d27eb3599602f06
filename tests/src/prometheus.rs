//! A real Prometheus as a guarded process, and its HTTP API.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::broker::free_address;
use crate::process::Process;
use crate::wait::{BOUND, until};

/// A running Prometheus. Killed when dropped.
pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
}

/// One series of an answer: its labels, and its values in the order of time.
#[derive(Debug, Clone)]
pub struct Series {
    /// With `__name__` where there is one.
    pub labels: Value,
    /// One at least.
    pub values: Vec<f64>,
}

impl Prometheus {
    /// Starts `program` with what `config` makes of its own address, everything else in `dir`, and
    /// waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(program: &Path, dir: &Path, config: impl Fn(SocketAddr) -> String) -> Prometheus {
        let address = free_address();
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config(address)).expect("a place for the configuration");
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        let mut process = Process::start(&mut command);
        until("Prometheus to be ready", || {
            assert!(!process.has_ended(), "Prometheus ended: {}", process.stderr.so_far().join("\n"));
            matches!(get(address, "/-/ready"), Ok((200, _))).then_some(())
        })
        .await;
        Prometheus { _process: process, address }
    }

    /// `data` of an API answer.
    ///
    /// # Errors
    /// What Prometheus says.
    ///
    /// # Panics
    /// When it does not answer in JSON.
    pub fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let (_, body) = get(self.address, &path).expect("Prometheus answers");
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(answer["error"].as_str().unwrap_or(&body).to_owned()),
        }
    }

    /// An expression now.
    ///
    /// # Errors
    /// What Prometheus says.
    pub fn query(&self, expression: &str) -> Result<Vec<Series>, String> {
        Ok(series(&self.api("query", &[("query", expression)])?))
    }

    /// An expression over the last `seconds`, one value a second.
    ///
    /// # Errors
    /// What Prometheus says.
    pub fn query_range(&self, expression: &str, seconds: u64) -> Result<Vec<Series>, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let (end, start) = (now.as_secs_f64(), now.as_secs_f64() - seconds as f64);
        let parameters = [("start", format!("{start:.3}")), ("end", format!("{end:.3}"))];
        let [start, end] = parameters.each_ref().map(|(name, value)| (*name, value.as_str()));
        Ok(series(&self.api("query_range", &[("query", expression), start, end, ("step", "1")])?))
    }
}

/// Of a vector or a matrix; one without labels of a scalar.
fn series(data: &Value) -> Vec<Series> {
    let number = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    if data["resultType"] == "scalar" {
        return vec![Series { labels: Value::Null, values: vec![number(&data["result"])] }];
    }
    let rows = data["result"].as_array().into_iter().flatten();
    rows.map(|row| Series {
        labels: row["metric"].clone(),
        values: match row["values"].as_array() {
            Some(values) => values.iter().map(number).collect(),
            None => vec![number(&row["value"])],
        },
    })
    .collect()
}

/// Percent-encoded for a query string.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Status and body. HTTP/1.0, so that the answer is not sent in chunks.
fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}
