//! Proof of the whole: every test in this package starts the real program and looks from outside.
//!
//! The tests are in `tests/`, one file a topic; what the foreign clients do is in `python/` and
//! `js/`. There is nothing else here.
