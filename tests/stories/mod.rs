//! Stories of the functions on in-memory ports, each through the front door: a request, a queue delivery or a tick.

mod life;
