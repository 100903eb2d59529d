//! Rules of the tree that no compiler checks.
