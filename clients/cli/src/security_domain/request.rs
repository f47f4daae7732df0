//! The request that gives a security domain to officers.

use std::io::Write;
use std::path::{Path, PathBuf};

use casemate_quorum::{DownloadRequest, Primitives, Quorum, Rotation};

use super::SecurityDomainError as Error;
use super::files::{blob, certificate};

pub(super) fn request(
    required: u64,
    certificates: &[PathBuf],
    rotate: Option<(&Path, Option<u32>)>,
    primitives: &dyn Primitives,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let holders: Result<Vec<_>, _> =
        certificates.iter().map(|path| certificate(path, primitives)).collect();
    let quorum = Quorum::new(holders?, Some(required))?;
    let rotation = rotate.map(|(domain, forget_before)| next_epoch(domain, forget_before));
    let rotation = rotation.transpose()?;
    let request = DownloadRequest { quorum, approvals: Vec::new(), rotation };
    writeln!(out, "{}", request.body(primitives))?;
    Ok(())
}

/// The epoch after that of a security domain's file.
fn next_epoch(domain: &Path, forget_before: Option<u32>) -> Result<Rotation, Error> {
    let blob = blob(domain)?;
    let facts = blob.facts().ok_or_else(|| Error::NoFacts { path: domain.to_owned() })?;
    Ok(Rotation { epoch: facts.epoch.saturating_add(1), forget_before })
}
