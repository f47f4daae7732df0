//! The file that holds the user's PIN of the token.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use casemate_engine_port::Secret;
use cryptoki::types::AuthPin;

use crate::token::TokenError;

/// Largest PIN file, in bytes.
const PIN_BYTES_MAX: usize = 256;
/// `O_NOFOLLOW | O_NONBLOCK` are not needed to be safe here; a FIFO must not hold up the start.
const NONBLOCKING: i32 = 0o4000;

/// Reads a PIN file that nobody but its owner may read. One line feed at its end is not part of it.
pub(crate) fn read(path: &Path) -> Result<AuthPin, TokenError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(NONBLOCKING)
        .open(path)
        .map_err(|cause| TokenError::PinFile { path: path.to_owned(), cause })?;
    let about =
        file.metadata().map_err(|cause| TokenError::PinFile { path: path.to_owned(), cause })?;
    let mode = about.permissions().mode() & 0o7777;
    if !about.is_file() || mode & 0o077 != 0 {
        return Err(TokenError::PinExposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::with_capacity(PIN_BYTES_MAX + 1);
    let most = u64::try_from(PIN_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let read = file.take(most).read_to_end(&mut bytes);
    let bytes = Secret::new(bytes);
    read.map_err(|cause| TokenError::PinFile { path: path.to_owned(), cause })?;
    let pin = bytes.expose().strip_suffix(b"\n").unwrap_or(bytes.expose());
    if pin.is_empty() || pin.len() > PIN_BYTES_MAX {
        let cause = io::Error::other("a PIN has 1 to 256 bytes");
        return Err(TokenError::PinFile { path: path.to_owned(), cause });
    }
    let text = std::str::from_utf8(pin).map_err(|_| TokenError::PinFile {
        path: path.to_owned(),
        cause: io::Error::other("a PIN is text"),
    })?;
    // A box of exactly this length: nothing is copied again, and the crate wipes it.
    Ok(AuthPin::from(Box::<str>::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8], mode: u32) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("casemate-pin-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_private_file_is_read() {
        for (name, bytes) in [("plain", b"1234".as_slice()), ("line", b"1234\n")] {
            assert!(read(&file(name, bytes, 0o600)).is_ok(), "{name}");
            assert!(read(&file(name, bytes, 0o400)).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_others_may_read_is_refused() {
        for mode in [0o604, 0o640, 0o602, 0o620, 0o610, 0o777] {
            let refusal = read(&file("open", b"1234", mode)).unwrap_err();
            assert!(matches!(refusal, TokenError::PinExposed { .. }), "{mode:o}");
        }
    }

    #[test]
    fn nothing_too_much_and_no_file_are_refused() {
        for (name, bytes) in
            [("empty", Vec::new()), ("feed", b"\n".to_vec()), ("long", vec![b'1'; 257])]
        {
            let refusal = read(&file(name, &bytes, 0o600)).unwrap_err();
            assert!(matches!(refusal, TokenError::PinFile { .. }), "{name}");
        }
        let refusal = read(&file("bytes", &[0xff, 0xfe], 0o600)).unwrap_err();
        assert!(matches!(refusal, TokenError::PinFile { .. }));
        assert!(read(&std::env::temp_dir()).is_err(), "a folder");
        assert!(read(Path::new("/nonexistent/pin")).is_err());
    }
}
