//! What each port promises.
