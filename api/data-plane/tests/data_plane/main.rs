//! The data plane as a caller sees it: a real HSM over a real engine and store, real tokens, the
//! audit trail in memory.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_sinks;
#[cfg(test)]
mod crypto;
mod definitions;
#[cfg(test)]
mod details;
#[cfg(test)]
mod full_backup;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod hang_up;
#[cfg(test)]
mod keeper;
#[cfg(test)]
mod key_backup;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod revoke;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod security_domain;
mod settings;
#[cfg(test)]
mod shelf;
mod stuck;
#[cfg(test)]
mod traces;
mod usage;
