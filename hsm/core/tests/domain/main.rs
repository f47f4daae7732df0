//! Decisions of the domain, over a real engine, the sealed store and an audit trail in memory.

#![expect(clippy::unwrap_used, reason = "a fixture that breaks ends its test")]

mod backup_compare;
mod bench; // the fixture all tests stand on
mod definitions;
mod deletion;
mod explain;
mod full_backup;
mod full_backup_rights;
mod gcm;
mod increments;
mod key_backup;
mod ladder;
mod odd_engine;
mod odd_tokens;
mod prefixes;
mod races;
mod revocation;
mod rights;
mod role_table;
mod rotation;
mod schedules;
mod settings;
mod shelf;
mod use_rules;
mod versions;
