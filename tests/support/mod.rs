//! The support of the tests: in-memory ports, and the whole system as child processes.
