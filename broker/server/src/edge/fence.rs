//! The connections of one client, one after the other (PROTOCOL.md 3.5).
//!
//! A client that gives a connection up does not know which of its requests are still under way. Its
//! next connection fences them. Invariants:
//! 1. Once a client is welcomed, each change that an earlier connection of it asked for has been
//!    carried out, or never will be.
//! 2. A connection that says hello after a later one is refused.
//! 3. A change waits for the log only, never for a client that does not read: so whoever fences it
//!    does not wait long.
//!
//! A client that does not say which one it is, is fenced by nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanal_protocol::control::Hello;
use fanal_protocol::{ClientId, Code, PublisherId};
use tokio::sync::{Notify, OwnedMutexGuard};

use crate::wire::Ending;

type Client = (PublisherId, ClientId);

/// The latest connection of each client that says which one it is.
#[derive(Default)]
pub(crate) struct Clients(Mutex<BTreeMap<Client, Arc<Fence>>>);

/// What stands between a connection and the next one of its client.
#[derive(Default)]
struct Fence {
    connection: u64,
    /// A later connection is there.
    is_over: AtomicBool,
    over: Notify,
    /// Held while a change is carried out.
    changes: Arc<tokio::sync::Mutex<()>>,
}

/// A connection's place among those of its client, until it is dropped.
pub(crate) struct Place {
    clients: Arc<Clients>,
    client: Client,
    fence: Arc<Fence>,
    /// The connection before, as long as it is waited for.
    before: Option<Arc<Fence>>,
}

/// The right to carry a change out.
pub(crate) struct Change<'a>(#[expect(dead_code, reason = "held")] tokio::sync::MutexGuard<'a, ()>);

fn superseded() -> Ending {
    Ending::refused(Code::Conflict, "a later connection of this client is there")
}

impl Clients {
    /// A client says hello: ends its earlier connection, and waits for the change that is being
    /// carried out for it.
    ///
    /// # Errors
    /// A later connection is there.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        principal: &PublisherId,
        hello: &Hello,
    ) -> Result<Place, Ending> {
        let fence = Arc::new(Fence { connection: hello.connection, ..Fence::default() });
        // Whoever fences this connection waits for what it waits for itself.
        let entering: OwnedMutexGuard<()> = Arc::clone(&fence.changes).lock_owned().await;
        let client = (principal.clone(), hello.client);
        let mut place = Place { clients: Arc::clone(self), client, fence, before: None };
        if hello.client != ClientId::default() {
            self.put(&mut place)?;
        }
        if let Some(before) = &place.before {
            drop(before.changes.lock().await);
        }
        place.before = None;
        drop(entering);
        Ok(place)
    }

    fn put(&self, place: &mut Place) -> Result<(), Ending> {
        let mut latest = self.lock();
        if let Some(before) = latest.get(&place.client) {
            if before.connection >= place.fence.connection {
                return Err(superseded());
            }
            before.is_over.store(true, Ordering::Release);
            before.over.notify_one();
            place.before = Some(Arc::clone(before));
        }
        latest.insert(place.client.clone(), Arc::clone(&place.fence));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Client, Arc<Fence>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for the turn to carry a change out.
    ///
    /// # Errors
    /// A later connection is there: nothing is carried out any more.
    pub(crate) async fn begin_change(&self) -> Result<Change<'_>, Ending> {
        let turn = self.fence.changes.lock().await;
        if self.fence.is_over.load(Ordering::Acquire) { Err(superseded()) } else { Ok(Change(turn)) }
    }

    /// Waits until a later connection is there; why this one ends.
    pub(crate) async fn over(&self) -> Ending {
        self.fence.over.notified().await;
        superseded()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut latest = self.clients.lock();
        if latest.get(&self.client).is_some_and(|latest| Arc::ptr_eq(latest, &self.fence)) {
            match self.before.take() {
                // It went before it was welcomed: the next one has to wait for that one still.
                Some(before) => drop(latest.insert(self.client.clone(), before)),
                None => drop(latest.remove(&self.client)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn hello(client: u8, connection: u64) -> Hello {
        Hello { client: ClientId([client; 16]), connection, ..Hello::default() }
    }

    fn enter(clients: &Arc<Clients>, client: u8, connection: u64) -> Result<Place, Ending> {
        let principal = PublisherId::default();
        clients.enter(&principal, &hello(client, connection)).now_or_never().expect("nothing to wait for")
    }

    #[test]
    fn a_later_connection_ends_the_earlier_ones_of_its_client_alone() {
        let clients = Arc::<Clients>::default();
        let (first, other) = (enter(&clients, 1, 1).unwrap(), enter(&clients, 2, 1).unwrap());
        let unsaid = [enter(&clients, 0, 0).unwrap(), enter(&clients, 0, 0).unwrap()];
        assert!(first.over().now_or_never().is_none());
        let third = enter(&clients, 1, 3).unwrap();
        assert_eq!(first.over().now_or_never(), Some(superseded()));
        assert!(first.begin_change().now_or_never().unwrap().is_err());
        for early in [2, 3] {
            assert_eq!(enter(&clients, 1, early).err(), Some(superseded()), "after a later one");
        }
        for place in [&third, &other, &unsaid[0], &unsaid[1]] {
            assert!(place.over().now_or_never().is_none());
            assert!(place.begin_change().now_or_never().unwrap().is_ok());
        }
        drop(first);
        assert_eq!(enter(&clients, 1, 2).err(), Some(superseded()), "the later one is still there");
        drop([third, other]);
        assert_eq!(clients.lock().len(), 0);
    }

    #[test]
    fn a_client_is_welcomed_once_the_change_under_way_is_carried_out() {
        let clients = Arc::<Clients>::default();
        let first = enter(&clients, 1, 1).unwrap();
        let change = first.begin_change().now_or_never().unwrap().unwrap();
        let (principal, second, third) = (PublisherId::default(), hello(1, 2), hello(1, 3));
        let mut waiting = Box::pin(clients.enter(&principal, &second));
        assert!((&mut waiting).now_or_never().is_none());
        // One that goes before it is welcomed leaves the waiting to the next.
        drop(waiting);
        let mut waiting = Box::pin(clients.enter(&principal, &third));
        assert!((&mut waiting).now_or_never().is_none());
        drop(change);
        let third = waiting.now_or_never().unwrap().unwrap();
        assert!(first.begin_change().now_or_never().unwrap().is_err());
        assert!(third.begin_change().now_or_never().unwrap().is_ok());
    }
}
