//! RSA keys: every algorithm at every size.

use crate::{
    bare, decrypted, encrypted, fails_to_decrypt, flipped, is_bad_input, made, plain, samples,
};
use casemate_engine_port::{
    CipherAlgorithm, DecryptInput, DigestLength, EncryptInput, Engine, KeyHandle, KeySpec,
    OperationError, PublicPart, RsaSize, SignAlgorithm,
};

/// The whole family. One key is made for each size, since making them is slow.
pub fn run(engine: &dyn Engine) {
    for size in RsaSize::ALL.into_iter().filter(|size| engine.supports(KeySpec::Rsa(*size))) {
        let spec = KeySpec::Rsa(size);
        let (new, handle) = made(engine, spec);
        let PublicPart::Rsa { n, e } = &new.public else { unreachable!("an RSA key has n and e") };
        assert_eq!((n.len(), n[0] >> 7, e.as_slice()), (size.bytes(), 1, [1, 0, 1].as_slice()));
        for algorithm in SignAlgorithm::ALL.into_iter().filter(|one| one.fits(spec)) {
            signatures_verify_and_changed_ones_do_not(&*handle, size, algorithm);
            malformed_signatures_are_wrong(&*handle, size, algorithm);
            inputs_of_another_length_are_refused(&*handle, size, algorithm);
        }
        for algorithm in CipherAlgorithm::ALL.into_iter().filter(|one| one.fits(spec)) {
            encryption_round_trips(&*handle, size, algorithm);
            changed_ciphertexts_fail(&*handle, algorithm);
            malformed_ciphertexts_fail(&*handle, size, algorithm);
            extras_are_refused(&*handle, size, algorithm);
        }
        algorithms_are_not_mixed_up(&*handle);
        other_algorithms_are_refused(&*handle, spec);
    }
    if engine.supports(KeySpec::Rsa(RsaSize::B2048)) {
        another_key_is_another(engine);
    }
}

fn input_of(size: RsaSize, algorithm: SignAlgorithm) -> Vec<u8> {
    match algorithm.input_length(KeySpec::Rsa(size)) {
        DigestLength::Exactly(length) => vec![0x5a; length],
        DigestLength::AtMost(_) => vec![0x5a; 51],
    }
}

fn is_wrong(
    handle: &dyn KeyHandle,
    algorithm: SignAlgorithm,
    input: &[u8],
    signature: &[u8],
) -> bool {
    !handle.verify(algorithm, input, signature).expect("a wrong signature is not an error")
}

fn signatures_verify_and_changed_ones_do_not(
    handle: &dyn KeyHandle,
    size: RsaSize,
    algorithm: SignAlgorithm,
) {
    let input = input_of(size, algorithm);
    let signature = handle.sign(algorithm, &input).expect("a key signs");
    assert_eq!(signature.len(), size.bytes());
    assert!(handle.verify(algorithm, &input, &signature).expect("a right signature"));
    for position in samples(signature.len()) {
        let changed = flipped(&signature, position);
        assert!(is_wrong(handle, algorithm, &input, &changed), "{algorithm:?} {position}");
    }
    for position in samples(input.len()) {
        let changed = flipped(&input, position);
        assert!(is_wrong(handle, algorithm, &changed, &signature), "{algorithm:?} {position}");
    }
    let again = handle.sign(algorithm, &input).expect("a key signs");
    let salted =
        matches!(algorithm, SignAlgorithm::Ps256 | SignAlgorithm::Ps384 | SignAlgorithm::Ps512);
    assert_eq!(signature != again, salted, "{algorithm:?}");
}

fn malformed_signatures_are_wrong(handle: &dyn KeyHandle, size: RsaSize, algorithm: SignAlgorithm) {
    let input = input_of(size, algorithm);
    let signature = handle.sign(algorithm, &input).expect("a key signs");
    let length = size.bytes();
    let mut one = vec![0; length];
    one[length - 1] = 1;
    for (what, malformed) in [
        ("empty", Vec::new()),
        ("without its first byte", signature[1..].to_vec()),
        ("cut by one", signature[..length - 1].to_vec()),
        ("long by one", [&signature[..], &[0]].concat()),
        ("a zero in front", [&[0], &signature[..]].concat()),
        ("twice", [&signature[..], &signature[..]].concat()),
        ("zeros", vec![0; length]),
        ("one", one),
        ("beyond the modulus", vec![0xff; length]),
    ] {
        assert!(is_wrong(handle, algorithm, &input, &malformed), "{algorithm:?}: {what}");
    }
}

fn inputs_of_another_length_are_refused(
    handle: &dyn KeyHandle,
    size: RsaSize,
    algorithm: SignAlgorithm,
) {
    let refused = |length: usize| {
        let what = format!("{algorithm:?}: {length} bytes");
        is_bad_input(handle.sign(algorithm, &vec![1; length]), &what);
        is_bad_input(handle.verify(algorithm, &vec![1; length], &vec![1; size.bytes()]), &what);
    };
    match algorithm.input_length(KeySpec::Rsa(size)) {
        DigestLength::Exactly(right) => [0, 20, right - 1, right + 1].into_iter().for_each(refused),
        DigestLength::AtMost(longest) => {
            [longest + 1, size.bytes(), 2 * size.bytes()].into_iter().for_each(refused);
            for length in [0, 1, longest] {
                let input = vec![0xa5; length];
                let signature = handle.sign(algorithm, &input).expect("a length that fits");
                assert!(handle.verify(algorithm, &input, &signature).expect("a right signature"));
            }
        }
    }
}

/// RFC 8017, 7.1.1 and 7.2.1.
fn plaintext_bytes_max(size: RsaSize, algorithm: CipherAlgorithm) -> usize {
    match algorithm {
        CipherAlgorithm::RsaOaep256 => size.bytes() - 66,
        CipherAlgorithm::RsaOaep => size.bytes() - 42,
        _ => size.bytes() - 11,
    }
}

fn encryption_round_trips(handle: &dyn KeyHandle, size: RsaSize, algorithm: CipherAlgorithm) {
    let longest = plaintext_bytes_max(size, algorithm);
    for length in [0, 1, 16, 32, longest] {
        let plaintext = vec![0xc3; length];
        let first = encrypted(handle, algorithm, plain(&plaintext));
        let second = encrypted(handle, algorithm, plain(&plaintext));
        assert_eq!(first.ciphertext.len(), size.bytes());
        assert!(first.tag.is_none());
        assert_ne!(first.ciphertext, second.ciphertext, "{algorithm:?} is randomised");
        let opened = decrypted(handle, algorithm, bare(&first.ciphertext));
        assert_eq!(opened.expose(), plaintext, "{algorithm:?} {length}");
    }
    for length in [longest + 1, size.bytes(), 2 * size.bytes()] {
        let what = format!("{algorithm:?}: {length} bytes");
        is_bad_input(handle.encrypt(algorithm, plain(&vec![1; length])), &what);
    }
}

fn changed_ciphertexts_fail(handle: &dyn KeyHandle, algorithm: CipherAlgorithm) {
    let ciphertext = encrypted(handle, algorithm, plain(b"plaintext")).ciphertext;
    let changed: Vec<Vec<u8>> =
        samples(ciphertext.len()).map(|position| flipped(&ciphertext, position)).collect();
    if algorithm != CipherAlgorithm::Rsa15 {
        for one in &changed {
            fails_to_decrypt(handle, algorithm, bare(one), "changed");
        }
        return;
    }
    // Random bytes are right RSA1_5 padding once in about a hundred thousand times; never twice.
    let failed = changed
        .iter()
        .filter(|one| match handle.decrypt(algorithm, bare(one)) {
            Err(OperationError::DecryptionFailed) => true,
            other => {
                assert_ne!(other.expect("no other error").expose(), b"plaintext");
                false
            }
        })
        .count();
    assert!(failed + 1 >= changed.len(), "{failed} of {}", changed.len());
}

fn malformed_ciphertexts_fail(handle: &dyn KeyHandle, size: RsaSize, algorithm: CipherAlgorithm) {
    let right = encrypted(handle, algorithm, plain(b"plaintext")).ciphertext;
    let length = size.bytes();
    let mut one = vec![0; length];
    one[length - 1] = 1;
    for (what, malformed) in [
        ("empty", Vec::new()),
        ("one byte", vec![1]),
        ("cut by one", right[..length - 1].to_vec()),
        ("without its first byte", right[1..].to_vec()),
        ("long by one", [&right[..], &[0]].concat()),
        ("a zero in front", [&[0], &right[..]].concat()),
        ("twice", [&right[..], &right[..]].concat()),
        ("zeros", vec![0; length]),
        ("one", one),
        ("beyond the modulus", vec![0xff; length]),
    ] {
        fails_to_decrypt(handle, algorithm, bare(&malformed), what);
    }
}

fn extras_are_refused(handle: &dyn KeyHandle, size: RsaSize, algorithm: CipherAlgorithm) {
    let some = [0; 12];
    let given = Some(some.as_slice());
    let text = [1; 16];
    for (iv, aad) in [(given, None), (None, given)] {
        let input = EncryptInput { plaintext: &text, iv, aad };
        is_bad_input(handle.encrypt(algorithm, input), "an extra of another mode");
    }
    let ciphertext = vec![1; size.bytes()];
    for (iv, aad, tag) in [(given, None, None), (None, given, None), (None, None, given)] {
        let input = DecryptInput { ciphertext: &ciphertext, iv, aad, tag };
        is_bad_input(handle.decrypt(algorithm, input), "an extra of another mode");
    }
}

fn algorithms_are_not_mixed_up(handle: &dyn KeyHandle) {
    use CipherAlgorithm::{RsaOaep, RsaOaep256};
    use SignAlgorithm::{Ps256, Rs256, RsNull};
    let digest = [0x5a; 32];
    for (made_as, read_as) in [
        (Rs256, Ps256),
        (Ps256, Rs256),
        (RsNull, Rs256),
        (Rs256, RsNull),
        (RsNull, Ps256),
        (Ps256, RsNull),
    ] {
        let signature = handle.sign(made_as, &digest).expect("a key signs");
        assert!(is_wrong(handle, read_as, &digest, &signature), "{made_as:?} as {read_as:?}");
    }
    for (made_as, read_as) in [(RsaOaep, RsaOaep256), (RsaOaep256, RsaOaep)] {
        let ciphertext = encrypted(handle, made_as, plain(b"plaintext")).ciphertext;
        fails_to_decrypt(handle, read_as, bare(&ciphertext), "of another algorithm");
    }
}

fn other_algorithms_are_refused(handle: &dyn KeyHandle, spec: KeySpec) {
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|algorithm| !algorithm.fits(spec)) {
        let what = format!("{spec:?} with {algorithm:?}");
        is_bad_input(handle.sign(algorithm, &[1; 32]), &what);
        is_bad_input(handle.verify(algorithm, &[1; 32], &[1; 256]), &what);
    }
    for algorithm in CipherAlgorithm::ALL.into_iter().filter(|algorithm| !algorithm.fits(spec)) {
        let what = format!("{spec:?} with {algorithm:?}");
        is_bad_input(handle.encrypt(algorithm, plain(&[1; 16])), &what);
        is_bad_input(handle.decrypt(algorithm, bare(&[1; 256])), &what);
    }
}

fn another_key_is_another(engine: &dyn Engine) {
    let spec = KeySpec::Rsa(RsaSize::B2048);
    let ((one_new, one), (two_new, two)) = (made(engine, spec), made(engine, spec));
    assert_ne!(one_new.public, two_new.public);
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.fits(spec)) {
        let input = input_of(RsaSize::B2048, algorithm);
        let signature = one.sign(algorithm, &input).expect("a key signs");
        assert!(is_wrong(&*two, algorithm, &input, &signature), "{algorithm:?}");
    }
    for algorithm in [CipherAlgorithm::RsaOaep, CipherAlgorithm::RsaOaep256] {
        let ciphertext = encrypted(&*one, algorithm, plain(b"plaintext")).ciphertext;
        fails_to_decrypt(&*two, algorithm, bare(&ciphertext), "of another key");
    }
}
