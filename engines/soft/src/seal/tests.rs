use super::*;

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

fn sealed_under_key() -> Vec<u8> {
    under_key(&secret(&[1; 32]), &secret(b"domain secret")).unwrap()
}

#[test]
fn a_payload_comes_back_with_its_passphrase_only() {
    let sealed = under_passphrase(&secret(b"correct horse"), &secret(b"domain secret")).unwrap();
    let opened = open_with_passphrase(&secret(b"correct horse"), &sealed).unwrap();
    assert_eq!(opened.expose(), b"domain secret");
    let refusal = open_with_passphrase(&secret(b"correct horsf"), &sealed).unwrap_err();
    assert_eq!(refusal, SealError::NotAuthentic);
}

#[test]
fn a_changed_byte_of_a_passphrase_seal_is_refused() {
    let sealed = under_passphrase(&secret(b"p"), &secret(b"domain secret")).unwrap();
    // Salt, ciphertext and tag; one sample each, since every try costs 64 MiB.
    for position in [PREFIX_BYTES + 12, PASSPHRASE_HEADER_BYTES, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        let refusal = open_with_passphrase(&secret(b"p"), &changed).unwrap_err();
        assert_eq!(refusal, SealError::NotAuthentic, "{position}");
    }
}

#[test]
fn a_payload_comes_back_with_its_key_only() {
    let sealed = sealed_under_key();
    let opened = open_with_key(&secret(&[1; 32]), &sealed).unwrap();
    assert_eq!(opened.expose(), b"domain secret");
    let refusal = open_with_key(&secret(&[2; 32]), &sealed).unwrap_err();
    assert_eq!(refusal, SealError::NotAuthentic);
}

#[test]
fn no_changed_or_missing_byte_of_a_key_seal_is_accepted() {
    let sealed = sealed_under_key();
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        assert!(open_with_key(&secret(&[1; 32]), &changed).is_err(), "{position}");
        assert!(open_with_key(&secret(&[1; 32]), &sealed[..position]).is_err(), "{position}");
    }
}

#[test]
fn parameters_beyond_the_limits_are_refused_before_any_work() {
    let sealed = under_passphrase(&secret(b"p"), &secret(b"s")).unwrap();
    let limits = [(0, MEMORY_KIB_MAX), (4, PASSES_MAX), (8, LANES_MAX)];
    for (offset, limit) in limits {
        let mut costly = sealed.clone();
        let at = PREFIX_BYTES + offset;
        costly[at..at + 4].copy_from_slice(&(limit + 1).to_be_bytes());
        let refusal = open_with_passphrase(&secret(b"p"), &costly).unwrap_err();
        assert!(matches!(refusal, SealError::TooCostly { .. }), "{refusal}");
    }
}

#[test]
fn parameters_that_argon2_does_not_know_are_refused() {
    let sealed = under_passphrase(&secret(b"p"), &secret(b"s")).unwrap();
    for offset in [0, 4, 8] {
        let mut free = sealed.clone();
        let at = PREFIX_BYTES + offset;
        free[at..at + 4].copy_from_slice(&[0; 4]);
        assert!(open_with_passphrase(&secret(b"p"), &free).is_err(), "{offset}");
    }
}

#[test]
fn the_header_says_what_is_wrong_with_it() {
    let key = secret(&[1; 32]);
    let mut other = sealed_under_key();
    other[8] = 2;
    assert_eq!(open_with_key(&key, &other).unwrap_err(), SealError::UnknownVersion { found: 2 });
    let sealed = sealed_under_key();
    let refusal = open_with_passphrase(&secret(b"p"), &sealed).unwrap_err();
    assert_eq!(refusal, SealError::OtherKind);
    assert_eq!(open_with_key(&key, b"").unwrap_err(), SealError::NotASeal);
    assert_eq!(open_with_key(&key, b"CMATSEAK\x01\x02").unwrap_err(), SealError::NotASeal);
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let payload = secret(b"s");
    let refusal = under_passphrase(&secret(b""), &payload).unwrap_err();
    assert_eq!(refusal, SealError::EmptyPassphrase);
    let refusal = under_key(&secret(&[1; 31]), &payload).unwrap_err();
    assert_eq!(refusal, SealError::KeyLength { found: 31 });
    let large = secret(&vec![0; PAYLOAD_BYTES_MAX + 1]);
    let refusal = under_key(&secret(&[1; 32]), &large).unwrap_err();
    assert_eq!(refusal, SealError::TooLarge { found: PAYLOAD_BYTES_MAX + 1 });
}
