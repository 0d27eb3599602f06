//! The broker's shells as a library: edge, federation, log writer, admin.
