//! One test binary over the real handler.
//!
//! - `tidy`, `golden`, `requirements`: the tree, the stored formats, and what proves which requirement.
//! - `infra`: the deployment, held against what the app needs and what is safe.
//! - `stories`: the functions on in-memory ports, without a socket.
//! - `hostile`: destinations that are meant to lead us elsewhere.
//! - `simulation`: histories of everything that can go wrong, and an independent model of what must come out.
//! - `conformance`: what each port promises, asked of the in-memory one and of the Azure adapter alike.
//! - `system`: the built executable behind the host stand-in, with the emulators.

mod support;

mod conformance;
mod golden;
mod hostile;
mod infra;
mod requirements;
mod simulation;
mod stories;
mod system;
mod tidy;
