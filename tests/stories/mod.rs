//! Stories of the functions on in-memory ports.
