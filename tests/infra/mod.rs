//! The deployment: what its files declare, held against what the app needs and what is safe.

mod bicep;

mod alerts;
mod names;
mod rights;
mod rules;
mod settings;
