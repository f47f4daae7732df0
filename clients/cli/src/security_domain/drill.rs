//! A recovery rehearsed: do these keys still open this file?

use std::io::Write;
use std::path::{Path, PathBuf};

use casemate_quorum::{Blob, OpenedBlob, Primitives, PrivateKey};

use super::SecurityDomainError as Error;
use super::files::{Officer, blob, officer};

pub(super) fn drill(
    file: &Path,
    keys: &[PathBuf],
    primitives: &dyn Primitives,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let (blob, opened) = open(file, keys, primitives)?;
    let (used, required, holders) = (keys.len(), blob.required(), blob.holders().count());
    writeln!(
        out,
        "It opens: {used} keys were used, {required} of {holders} are needed; all {} items are \
         authentic. Nothing was written.",
        opened.items.len()
    )?;
    Ok(())
}

/// Opens a domain's file with these keys.
pub(super) fn open(
    file: &Path,
    keys: &[PathBuf],
    primitives: &dyn Primitives,
) -> Result<(Blob, OpenedBlob), Error> {
    let blob = blob(file)?;
    let officers: Vec<Officer> =
        keys.iter().map(|path| officer(path, primitives)).collect::<Result<_, _>>()?;
    let chosen: Vec<(&str, &dyn PrivateKey)> =
        officers.iter().map(|one| (one.holder.thumbprint(), &*one.key)).collect();
    let opened = blob.open(&chosen, primitives)?;
    Ok((blob, opened))
}
