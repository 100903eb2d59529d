//! Stories of the functions on in-memory ports, each through the front door: a request, a queue delivery or a tick.

mod clinics;

mod any_kick_off;
mod audit;
mod browsers;
mod callers;
mod compartments;
mod contract;
mod destinations;
mod downloads;
mod ends;
mod files;
mod filters;
mod groups;
mod health;
mod histories;
mod kick_off;
mod life;
mod list;
mod organized;
mod pages;
mod provenance;
mod refusals;
mod searches;
mod secrets;
mod stages;
mod status;
mod store_pages;
mod tokens;
mod troubles;
mod watch;
mod windows;
