//! Stories of the functions on in-memory ports, each through the front door: a request, a queue delivery or a tick.

mod clinics;

mod contract;
mod ends;
mod files;
mod life;
mod pages;
mod refusals;
mod status;
mod troubles;
