//! Connections and subscriptions of a run, and their removal.
//!
//! Invariant: the name of a durable subscription is noted before it is asked for, so that [`Scene::clear`]
//! removes what was made even if the answer never came.

use std::time::Duration;

use fanal_client::{Client, Code, Credentials, Error, RequestError, Subscription, WaitFor};
use futures::future::join_all;

use crate::{BenchError, Plan};

/// How long the removal at the end may take.
const CLEAR_PATIENCE: Duration = Duration::from_secs(3);
/// How long connections may take to close after that.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// The attribute that predicates look at: the event's number.
pub(crate) const ATTRIBUTE: &str = "n";

/// See the module.
pub(crate) struct Scene {
    /// What topics and names of this run begin with.
    pub(crate) name: String,
    pub(crate) publishers: Vec<Client>,
    pub(crate) subscribers: Vec<Client>,
    /// Taken by the run.
    pub(crate) subscriptions: Vec<Subscription>,
    /// Which client holds which durable subscription.
    durable: Vec<(usize, String)>,
    filters: Vec<Subscription>,
    filter_client: Option<Client>,
}

impl Scene {
    /// Nothing is connected yet.
    pub(crate) fn new() -> Self {
        Scene {
            name: format!("bench-{:08x}", rand::random::<u32>()),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            subscriptions: Vec::new(),
            durable: Vec::new(),
            filters: Vec::new(),
            filter_client: None,
        }
    }

    /// The topic of a publisher.
    pub(crate) fn topic(&self, publisher: usize) -> String {
        format!("{}/{publisher}", self.name)
    }

    /// Connects and subscribes, one after another.
    pub(crate) async fn set_up(&mut self, credentials: &Credentials, plan: &Plan) -> Result<(), BenchError> {
        for _ in 0..plan.publishers {
            self.publishers.push(connect(credentials).await?);
        }
        for number in 0..plan.subscribers {
            self.subscribers.push(connect(credentials).await?);
            self.subscribe(number, plan).await?;
        }
        if plan.filters > 0 {
            let client = self.filter_client.insert(connect(credentials).await?);
            for number in 1..=plan.filters {
                let request = client.subscribe(format!("{}/#", self.name)).wait_for(WaitFor::Home);
                let request = request.filter(format!("{ATTRIBUTE} = -{number}"));
                self.filters.push(request.await.map_err(Error::from)?);
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, number: usize, plan: &Plan) -> Result<(), BenchError> {
        let client = &self.subscribers[number];
        let mut request = client.subscribe(format!("{}/#", self.name)).wait_for(WaitFor::Home);
        if plan.predicate {
            request = request.filter(format!("{ATTRIBUTE} > 0"));
        }
        if plan.durable {
            let name = format!("{}-{number}", self.name);
            self.durable.push((number, name.clone()));
            request = request.durable(name);
        }
        self.subscriptions.push(request.await.map_err(Error::from)?);
        Ok(())
    }

    /// Removes durable subscriptions and closes every connection.
    ///
    /// # Errors
    /// When the broker did not confirm that a durable subscription is gone.
    pub(crate) async fn clear(mut self) -> Result<(), BenchError> {
        self.subscriptions.clear();
        self.filters.clear();
        let removed = tokio::time::timeout(CLEAR_PATIENCE, self.remove()).await;
        let all = self.publishers.iter().chain(&self.subscribers).chain(&self.filter_client);
        // What was not confirmed is in the report already.
        let _ = tokio::time::timeout(CLOSE_PATIENCE, join_all(all.map(Client::close))).await;
        match removed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.left_behind(&error.to_string())),
            Err(_) => Err(self.left_behind("the broker did not answer")),
        }
    }

    async fn remove(&self) -> Result<(), RequestError> {
        for (number, name) in &self.durable {
            let Some(client) = self.subscribers.get(*number) else { continue };
            match client.remove_subscription(name).await {
                Err(RequestError::Refused(refused)) if refused.code == Code::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn left_behind(&self, reason: &str) -> BenchError {
        BenchError::LeftBehind { names: format!("{}-*", self.name), reason: reason.to_owned() }
    }
}

async fn connect(credentials: &Credentials) -> Result<Client, BenchError> {
    let agent = concat!("fanal-bench/", env!("CARGO_PKG_VERSION"));
    Ok(Client::builder(credentials).agent(agent).connect().await.map_err(Error::from)?)
}
