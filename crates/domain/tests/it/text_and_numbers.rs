//! Texts and numbers at their edges.
