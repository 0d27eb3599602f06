//! The client library of Fanal: publish with receipts, subscribe as a stream, reconnect and resume.
