//! Reads blobs, certificates and keys.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_quorum::{Blob, Hidden, Holder, Primitives, PrivateKey};

use super::SecurityDomainError as Error;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file's bytes; wiped.
pub(super) fn read(path: &Path) -> Result<Hidden, Error> {
    let fails = |cause| Error::Read { path: path.to_owned(), cause };
    let file = File::open(path).map_err(fails)?;
    let length = file.metadata().map_err(fails)?.len().min(FILE_BYTES_MAX);
    // One buffer that does not grow, so that no part of a key is left behind; a pipe has no length.
    let room = usize::try_from(if length == 0 { FILE_BYTES_MAX } else { length + 1 });
    let mut bytes = Vec::with_capacity(room.unwrap_or_default());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fails)?;
    Ok(Hidden::new(bytes))
}

pub(super) fn blob(path: &Path) -> Result<Blob, Error> {
    let bytes = read(path)?;
    Blob::parse(bytes.expose()).map_err(|cause| Error::Blob { path: path.to_owned(), cause })
}

/// A certificate, PEM or DER.
pub(super) fn certificate(path: &Path, primitives: &dyn Primitives) -> Result<Holder, Error> {
    let bytes = read(path)?;
    let pem = pem(bytes.expose(), "CERTIFICATE");
    let der = pem.as_ref().unwrap_or(&bytes).expose();
    let holder = Holder::from_der(der, primitives);
    holder.map_err(|cause| Error::Certificate { path: path.to_owned(), cause })
}

/// An officer: the key, and the certificate beside it.
pub(super) struct Officer {
    pub(super) holder: Holder,
    pub(super) key: Box<dyn PrivateKey>,
}

pub(super) fn officer(path: &Path, primitives: &dyn Primitives) -> Result<Officer, Error> {
    let key = pem(read(path)?.expose(), "PRIVATE KEY");
    let key = key.and_then(|pkcs8| primitives.rsa_private_key(&pkcs8));
    let key = key.ok_or_else(|| Error::Key { path: path.to_owned() })?;
    let holder = certificate(&path.with_extension("cer"), primitives)?;
    if key.public() != *holder.public() {
        return Err(Error::OtherKey { path: path.to_owned() });
    }
    Ok(Officer { holder, key })
}

/// The bytes between the first markers of this label.
fn pem(text: &[u8], label: &str) -> Option<Hidden> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let mut packed = Vec::with_capacity(body.len());
    packed.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let packed = Hidden::new(packed);
    STANDARD.decode(packed.expose()).ok().map(Hidden::new)
}
