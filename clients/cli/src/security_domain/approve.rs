//! An officer's word, added to a request.

use std::io::Write;
use std::path::Path;

use casemate_quorum::{DownloadRequest, Facts, Primitives, Terms};

use super::SecurityDomainError as Error;
use super::files::{blob, officer, read};

/// What is approved.
pub(super) struct Asked<'a> {
    pub(super) domain: &'a Path,
    pub(super) request: &'a Path,
    pub(super) download: Option<u64>,
    pub(super) key: &'a Path,
}

pub(super) fn approve(
    asked: &Asked<'_>,
    primitives: &dyn Primitives,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let blob = blob(asked.domain)?;
    let nothing = || Error::NoFacts { path: asked.domain.to_owned() };
    let facts = blob.facts().ok_or_else(nothing)?;
    let domain = id(facts).ok_or_else(nothing)?;
    let officer = officer(asked.key, primitives)?;
    if !blob.holders().any(|holder| holder == officer.holder.thumbprint()) {
        return Err(Error::NotAHolder { path: asked.key.to_owned() });
    }
    let text = read(asked.request)?;
    let request = DownloadRequest::parse(text.expose(), primitives);
    let mut request =
        request.map_err(|cause| Error::Request { path: asked.request.to_owned(), cause })?;
    let download = asked.download.unwrap_or_else(|| facts.download.saturating_add(1));
    let next = facts.epoch.saturating_add(1);
    if let Some(epoch) = request.rotation.map(|one| one.epoch).filter(|epoch| *epoch != next) {
        return Err(Error::OtherEpoch { path: asked.domain.to_owned(), asked: epoch, next });
    }
    let rotation = request.rotation;
    let terms = Terms { domain, download, quorum: &request.quorum, rotation };
    let approval = terms.approve(&officer.holder, &*officer.key).ok_or(Error::NotSigned)?;
    request.approvals.retain(|other| other.x5t_s256 != approval.x5t_s256);
    request.approvals.push(approval);
    writeln!(out, "{}", request.body(primitives))?;
    Ok(())
}

/// The domain's id, from its 32 hexadecimal digits.
fn id(facts: &Facts) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if facts.domain.len() != 32 || !facts.domain.is_ascii() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(facts.domain.get(at..at + 2)?, 16).ok()?;
    }
    Some(id)
}
