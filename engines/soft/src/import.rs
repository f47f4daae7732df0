//! The checks of a key on its way in, for engines that keep it elsewhere.

use casemate_engine_port::{EngineError, ImportedKey, KeySpec, OctSize, PublicPart};

use crate::oct::BAD_LENGTH;
use crate::{ec, rsa};

/// Checks that a key is whole and sound, exactly as this crate's own engine does before it takes
/// one in: its kind, and its public part without leading zeros (RSA) or padded (EC).
///
/// # Errors
/// [`EngineError::BadKey`] with the reason.
pub fn check(key: &ImportedKey) -> Result<(KeySpec, PublicPart), EngineError> {
    match key {
        ImportedKey::Rsa(key) => rsa::import(key).map(|made| (made.spec, made.public)),
        ImportedKey::Ec { curve, x, y, d } => {
            ec::import(*curve, x, y, d).map(|made| (made.spec, made.public))
        }
        ImportedKey::Oct(key) => {
            let size = OctSize::ALL.into_iter().find(|size| size.bytes() == key.len());
            let size = size.ok_or(BAD_LENGTH)?;
            Ok((KeySpec::Oct(size), PublicPart::Oct))
        }
    }
}
