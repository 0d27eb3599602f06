//! The durable log of Fanal: segments, group commit, recovery.
