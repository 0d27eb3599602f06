//! JetStream, in a `nats-server` of its own: one stream on files, plain TCP.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures::StreamExt;
use tempfile::TempDir;

use super::publish::Producer;
use super::queue::EVENT_BYTES;
use crate::child::Outcome;

/// Producers that share a connection.
const PER_CONNECTION: usize = 64;
/// Acks that a filling publisher waits for at a time.
const FILL_WINDOW: u64 = 4096;
/// Events that a consumer asks for at once.
const PULL: usize = 5_000;
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Jetstream {
    server: Child,
    url: String,
    context: Context,
    _data: TempDir,
}

impl Jetstream {
    /// A fresh server with a stream; `is_flushed`: each message before its ack.
    pub(crate) async fn start(nats: &Path, dir: &Path, is_flushed: bool) -> Outcome<Self> {
        let data = tempfile::tempdir_in(dir)?;
        let sync = if is_flushed { "sync_interval: always" } else { "" };
        let config = data.path().join("nats.conf");
        let (store, ports) = (data.path().join("store"), data.path().join("ports"));
        std::fs::create_dir(&ports)?;
        std::fs::write(
            &config,
            format!(
                "listen: \"127.0.0.1:-1\"\nports_file_dir: {ports:?}\njetstream {{ store_dir: {store:?}\n{sync}\n}}\n"
            ),
        )?;
        let server = Command::new(nats)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Guard(Some(server));
        let url = wait_for_url(&ports).await?;
        let context = context(&url).await?;
        let stream =
            stream::Config { name: "LOAD".into(), subjects: vec!["load.>".into()], ..Default::default() };
        context.create_stream(stream).await?;
        let server = server.0.take().ok_or("no server")?;
        Ok(Jetstream { server, url, context, _data: data })
    }

    /// Producers, some of them on one connection.
    pub(crate) async fn producers(&self, count: usize) -> Outcome<Vec<JetstreamProducer>> {
        let mut producers = Vec::with_capacity(count);
        while producers.len() < count {
            let context = context(&self.url).await?;
            let rest = (count - producers.len()).min(PER_CONNECTION);
            producers.extend((0..rest).map(|_| JetstreamProducer { context: context.clone() }));
        }
        Ok(producers)
    }

    /// Events per second of one client that reads a backlog and acks it all at its end, which is the
    /// fastest that a consumer with acks can be.
    pub(crate) async fn drain(&self, backlog: u64) -> Outcome<f64> {
        let payload = Bytes::from(vec![7u8; EVENT_BYTES]);
        let mut acks = Vec::new();
        for number in 1..=backlog {
            acks.push(self.context.publish("load.x", payload.clone()).await?);
            if number % FILL_WINDOW == 0 || number == backlog {
                for ack in acks.drain(..) {
                    ack.await?;
                }
            }
        }
        let begun = Instant::now();
        let config = pull::Config {
            durable_name: Some("drain".into()),
            ack_policy: AckPolicy::All,
            max_ack_pending: -1,
            ..Default::default()
        };
        let consumer = self.context.get_stream("LOAD").await?.create_consumer(config).await?;
        let mut messages = consumer.stream().max_messages_per_batch(PULL).messages().await?;
        let mut received = 0;
        while received < backlog {
            let message = messages.next().await.ok_or("the stream ended")??;
            received += 1;
            if received == backlog {
                message.double_ack().await?;
            }
        }
        Ok(backlog as f64 / begun.elapsed().as_secs_f64())
    }
}

async fn context(url: &str) -> Outcome<Context> {
    let mut context = jetstream::new(async_nats::connect(url).await?);
    context.set_timeout(Duration::from_secs(30));
    Ok(context)
}

async fn wait_for_url(ports: &Path) -> Outcome<String> {
    let begun = Instant::now();
    while begun.elapsed() < START {
        for entry in std::fs::read_dir(ports)? {
            let text = std::fs::read_to_string(entry?.path())?;
            let ports: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(url) = ports["nats"][0].as_str() {
                return Ok(url.to_owned());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("nats-server does not listen".into())
}

/// Ends a server that did not get as far as to be owned.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(server) = &mut self.0 {
            end(server);
        }
    }
}

impl Drop for Jetstream {
    fn drop(&mut self) {
        end(&mut self.server);
    }
}

fn end(server: &mut Child) {
    // Where it has ended by itself there is nothing to do.
    let _ = server.kill();
    let _ = server.wait();
}

/// See [`Jetstream::producers`].
#[derive(Clone)]
pub(crate) struct JetstreamProducer {
    context: Context,
}

impl Producer for JetstreamProducer {
    async fn publish(&self, payload: Bytes) -> Outcome<()> {
        self.context.publish("load.x", payload).await?.await?;
        Ok(())
    }
}
