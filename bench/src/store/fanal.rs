//! A broker of the project's own, driven through the client library.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use fanal_client::{Client, Code, Publisher, Subscription, WaitFor};

use super::publish::Producer;
use crate::child::{BrokerChild, Outcome};

/// Producers that share a connection.
const PER_CONNECTION: usize = 64;

/// See the module.
pub(crate) struct FanalSubject {
    pub(crate) broker: BrokerChild,
    pub(crate) client: Client,
}

impl FanalSubject {
    /// A fresh broker with its data in a directory below `dir`.
    pub(crate) async fn start(fanal: &Path, dir: &Path) -> Outcome<Self> {
        let broker = BrokerChild::start_in(fanal, dir)?;
        let client = Client::connect(&broker.credentials).await?;
        Ok(FanalSubject { broker, client })
    }

    /// The same data, another process.
    pub(crate) async fn restart(mut self, fanal: &Path) -> Outcome<Self> {
        self.broker.restart(fanal)?;
        self.client = Client::connect(&self.broker.credentials).await?;
        Ok(self)
    }

    /// A durable subscription.
    pub(crate) async fn subscribe(&self, filter: &str, name: &str) -> Outcome<Subscription> {
        Ok(self.client.subscribe(filter).durable(name).wait_for(WaitFor::Home).await?)
    }

    /// A durable subscription that nobody reads.
    pub(crate) async fn subscribe_away(&self, filter: &str, name: &str) -> Outcome<()> {
        drop(self.subscribe(filter, name).await?);
        Ok(())
    }

    /// Producers with a publish channel each.
    pub(crate) async fn producers(&self, count: usize) -> Outcome<Vec<FanalProducer>> {
        let mut producers = Vec::with_capacity(count);
        while producers.len() < count {
            let client = Client::connect(&self.broker.credentials).await?;
            let rest = (count - producers.len()).min(PER_CONNECTION);
            producers.extend(
                (0..rest).map(|_| FanalProducer { publisher: client.publisher(), client: client.clone() }),
            );
        }
        Ok(producers)
    }

    /// Bytes of the broker's data on disk.
    pub(crate) fn disk_bytes(&self) -> Outcome<u64> {
        files_bytes(self.broker.data().to_path_buf())
    }
}

fn files_bytes(dir: PathBuf) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => files_bytes(entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

/// See [`FanalSubject::producers`].
#[derive(Clone)]
pub(crate) struct FanalProducer {
    publisher: Publisher,
    /// Lives as long as its channels are used.
    #[expect(dead_code, reason = "held, not read")]
    client: Client,
}

impl Producer for FanalProducer {
    async fn publish(&self, payload: Bytes) -> Outcome<()> {
        let receipt = self.publisher.publish("load/x").payload(payload).await?;
        match (receipt.code, receipt.destinations) {
            (Code::Durable, 1) => Ok(()),
            other => Err(format!("a durable receipt for 1 destination was expected: {other:?}").into()),
        }
    }
}
