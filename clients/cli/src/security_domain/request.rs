//! The request that gives a security domain to officers.

use std::io::Write;
use std::path::PathBuf;

use casemate_quorum::{DownloadRequest, Primitives, Quorum};

use super::SecurityDomainError as Error;
use super::files::certificate;

pub(super) fn request(
    required: u64,
    certificates: &[PathBuf],
    primitives: &dyn Primitives,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let holders: Result<Vec<_>, _> =
        certificates.iter().map(|path| certificate(path, primitives)).collect();
    let quorum = Quorum::new(holders?, Some(required))?;
    let request = DownloadRequest { quorum, approvals: Vec::new() };
    writeln!(out, "{}", request.body(primitives))?;
    Ok(())
}
