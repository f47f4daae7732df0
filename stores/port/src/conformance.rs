//! What every store must do, as tests that every store runs.
