//! Who holds a security domain.

use std::io::Write;
use std::path::{Path, PathBuf};

use casemate_quorum::{Holder, Primitives};

use super::SecurityDomainError as Error;
use super::files::{blob, certificate};

pub(super) fn inspect(
    file: &Path,
    certificates: &[PathBuf],
    primitives: &dyn Primitives,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let blob = blob(file)?;
    let known: Vec<Holder> =
        certificates.iter().map(|path| certificate(path, primitives)).collect::<Result<_, _>>()?;
    match blob.facts() {
        Some(facts) => {
            writeln!(out, "domain    {}", facts.domain)?;
            writeln!(out, "epoch     {}", facts.epoch)?;
            let epochs = blob.tags().filter_map(|tag| tag.strip_prefix("casemate-epoch-"));
            let earlier: Vec<&str> = epochs.filter(|one| *one != facts.epoch.to_string()).collect();
            match earlier.as_slice() {
                [] => {}
                earlier => writeln!(out, "backups   of epochs {} open too", earlier.join(", "))?,
            }
            writeln!(out, "download  {}, at {} (Unix seconds)", facts.download, facts.made)?;
        }
        None => writeln!(out, "domain    it does not say; not of a Casemate HSM")?,
    }
    writeln!(out, "quorum    {} of {}", blob.required(), blob.holders().count())?;
    for thumbprint in blob.holders() {
        let name = known.iter().find(|holder| holder.thumbprint() == thumbprint);
        let name = name.map(|holder| format!("  {}", holder.subject())).unwrap_or_default();
        writeln!(out, "  share   {thumbprint}{name}")?;
    }
    writeln!(out, "items     {}", blob.tags().count())?;
    for tag in blob.tags() {
        writeln!(out, "  item    {tag}")?;
    }
    writeln!(
        out,
        "Whoever has this file and {} of its keys opens it and all that is sealed in its epoch, \
         even if others hold the domain by now; only a new epoch ends that: `casemate \
         security-domain rotate`.",
        blob.required()
    )?;
    writeln!(out, "What it says of itself is not authenticated; `drill` opens it.")?;
    Ok(())
}
