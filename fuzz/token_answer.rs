//! What a token endpoint answers: what is taken can stand in a header, is used for a bounded time,
//! and is not printed; of a refusal only a word of the standard is repeated. And addresses of
//! storage: a token goes to listed accounts alone.
#![no_main]

use std::time::Duration;

use casemate_managed_identity::{
    CredentialKind, ManagedIdentity, TOKEN_BYTES_MAX, read, refused,
};
use libfuzzer_sys::fuzz_target;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = read(bytes) {
        let text = token.expose();
        assert!(!text.is_empty() && text.len() <= TOKEN_BYTES_MAX);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(token.usable_for() < DAY);
        assert_eq!(format!("{token:?}"), "AccessToken(…)");
    }
    if let Some(code) = refused(bytes) {
        assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
    let Ok(uri) = std::str::from_utf8(bytes) else { return };
    let storage = ["https://a.blob.example".to_owned(), "https://127.0.0.1:7/b".to_owned()];
    let endpoint = "https://login.example/token";
    let identity = ManagedIdentity::new(endpoint, "hsm", CredentialKind::Secret, &storage);
    if identity.expect("it is one").may_show_token_to(uri) {
        let url = url::Url::parse(uri).expect("it is an address");
        let place = (url.host_str().expect("it has a host"), url.port());
        assert!(matches!(place, ("a.blob.example", None) | ("127.0.0.1", Some(7))), "{uri}");
        assert_eq!((url.scheme(), url.username(), url.password()), ("https", "", None), "{uri}");
        assert_eq!((url.query(), url.fragment()), (None, None), "{uri}");
        let segments = url.path_segments().expect("it has a path").filter(|one| !one.is_empty());
        let (path, name) = (place.1.map_or(0, |_| 1), segments.clone().last());
        assert_eq!(segments.count(), path + 1, "{uri}");
        assert!(name.is_some_and(|name| name.len() >= 3 && !name.contains('%')), "{uri}");
    }
});
