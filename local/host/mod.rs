//! The Functions host stand-in: starts the built handler and drives it as Azure does.
