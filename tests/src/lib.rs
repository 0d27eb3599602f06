//! End-to-end tests of Fanal with real processes.
