//! The edge: one task group per client connection.
//!
//! [`connection`] shakes hands and reads control frames; [`publish`] reads publish streams and
//! routes; [`subscribe`] installs subscriptions; [`deliver`] writes deliveries. A violation by
//! one client ends its connection and nothing else.

pub(crate) mod connection;
pub(crate) mod deliver;
pub(crate) mod fence;
pub(crate) mod letters;
pub(crate) mod publish;
pub(crate) mod session;
pub(crate) mod subscribe;
