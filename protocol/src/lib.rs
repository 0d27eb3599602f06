//! Frames, envelope and body, codes: the wire of Fanal, without IO.
