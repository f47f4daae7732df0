//! What Azure's clients read and write of a security domain, and all that must be refused.

#[cfg(test)]
mod approvals;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod jwe;
#[cfg(test)]
mod kdf;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod uploads;
