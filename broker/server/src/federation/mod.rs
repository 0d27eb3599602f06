//! Links to other brokers: equals, each with interest of its own.
//!
//! [`dial`] keeps links to configured peers; [`link`] shakes hands, decides which of two links
//! stays and runs one; [`interest`] exchanges what each side asks for, [`installed`] is what of it is
//! in the index; [`send`] and [`receive`] carry events on two paths, durable and live; [`wait`] holds back interest receipts.
//!
//! The one-hop rule holds by construction: [`receive`] routes with a scope that reaches local
//! subscriptions only.

pub(crate) mod dial;
pub(crate) mod installed;
pub(crate) mod interest;
pub(crate) mod link;
pub(crate) mod peer;
pub(crate) mod peers;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod wait;
