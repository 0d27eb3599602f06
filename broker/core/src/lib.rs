//! The broker's decisions without IO, clock, threads or randomness.
