//! What Azure's clients read and write of a security domain, and all that must be refused.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod approvals;
mod blobs;
mod certificates;
mod jwe;
mod kdf;
mod kit;
mod uploads;
