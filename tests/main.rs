//! One test binary over the real handler.
//!
//! - `tidy`, `golden`: the tree and the stored formats.
//! - `infra`: the deployment, held against what the app needs and what is safe.
//! - `stories`: the functions on in-memory ports, without a socket.
//! - `simulation`: histories of everything that can go wrong, and an independent model of what must come out.
//! - `conformance`: what each port promises, asked of the in-memory one and of the Azure adapter alike.
//! - `system`: the built executable behind the host stand-in, with the emulators.

mod support;

mod conformance;
mod golden;
mod infra;
mod simulation;
mod stories;
mod system;
mod tidy;
