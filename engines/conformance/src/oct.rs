//! Symmetric keys: every mode at every size.

use crate::{bare, decrypted, encrypted, fails_to_decrypt, flipped, is_bad_input, made, plain};
use casemate_engine_port::{
    CipherAlgorithm, DecryptInput, EncryptInput, Engine, KeyHandle, KeySpec, OctSize, SignAlgorithm,
};

const GCM_IV: [u8; 12] = [9; 12];
const CBC_IV: [u8; 16] = [9; 16];

/// The whole family.
pub fn run(engine: &dyn Engine) {
    for size in OctSize::ALL.into_iter().filter(|size| engine.supports(KeySpec::Oct(*size))) {
        let spec = KeySpec::Oct(size);
        let (_, handle) = made(engine, spec);
        let (_, other) = made(engine, spec);
        for algorithm in SignAlgorithm::ALL.into_iter().filter(|one| one.fits(spec)) {
            macs(&*handle, &*other, algorithm);
        }
        gcm_round_trips(&*handle, &*other, size);
        gcm_refuses_changes(&*handle, size);
        gcm_wants_its_inputs(&*handle, size);
        cbc_round_trips(&*handle, size);
        cbc_wants_its_inputs(&*handle, size);
        cbc_padding_is_judged(&*handle, size);
        wrap_round_trips(&*handle, &*other, size);
        wrap_refuses_changes(&*handle, size);
        wrap_wants_its_inputs(&*handle, size);
        other_algorithms_are_refused(&*handle, spec);
    }
}

fn macs(handle: &dyn KeyHandle, other: &dyn KeyHandle, algorithm: SignAlgorithm) {
    let tag_bytes = match algorithm {
        SignAlgorithm::Hs256 => 32,
        SignAlgorithm::Hs384 => 48,
        _ => 64,
    };
    let right = |key: &dyn KeyHandle, message: &[u8], tag: &[u8]| {
        key.verify(algorithm, message, tag).expect("a wrong tag is not an error")
    };
    for length in [0, 1, 32, 200, 10_000] {
        let message = vec![0x3c; length];
        let tag = handle.sign(algorithm, &message).expect("a key signs");
        assert_eq!(tag.len(), tag_bytes);
        assert!(right(handle, &message, &tag));
        assert!(!right(other, &message, &tag), "{algorithm:?}: another key");
        assert!(!right(handle, &[&message[..], &[0]].concat(), &tag), "{algorithm:?}: longer");
        for position in 0..tag.len() {
            assert!(!right(handle, &message, &flipped(&tag, position)), "{algorithm:?}");
            assert!(!right(handle, &message, &tag[..position]), "{algorithm:?}: truncated");
        }
        assert!(!right(handle, &message, &[&tag[..], &[0]].concat()), "{algorithm:?}: long");
    }
}

fn gcm_input<'a>(
    ciphertext: &'a [u8],
    aad: Option<&'a [u8]>,
    tag: Option<&'a [u8]>,
) -> DecryptInput<'a> {
    DecryptInput { ciphertext, iv: Some(&GCM_IV), aad, tag }
}

fn gcm_round_trips(handle: &dyn KeyHandle, other: &dyn KeyHandle, size: OctSize) {
    let algorithm = CipherAlgorithm::AesGcm(size);
    for length in [0, 1, 15, 16, 17, 4096] {
        for aad in [None, Some(b"".as_slice()), Some(b"associated".as_slice())] {
            let plaintext = vec![0x77; length];
            let input = EncryptInput { plaintext: &plaintext, iv: Some(&GCM_IV), aad };
            let made = encrypted(handle, algorithm, input);
            let tag = made.tag.expect("GCM has a tag");
            assert_eq!((made.ciphertext.len(), tag.len()), (length, 16));
            let sealed = gcm_input(&made.ciphertext, aad, Some(&tag));
            assert_eq!(decrypted(handle, algorithm, sealed).expose(), plaintext);
            fails_to_decrypt(other, algorithm, sealed, "another key");
        }
    }
}

fn gcm_refuses_changes(handle: &dyn KeyHandle, size: OctSize) {
    let algorithm = CipherAlgorithm::AesGcm(size);
    let plaintext = [0x77; 40];
    let aad = b"associated".as_slice();
    let input = EncryptInput { plaintext: &plaintext, iv: Some(&GCM_IV), aad: Some(aad) };
    let made = encrypted(handle, algorithm, input);
    let tag = made.tag.expect("GCM has a tag");
    let text = made.ciphertext;
    for position in 0..text.len() {
        let changed = flipped(&text, position);
        let input = gcm_input(&changed, Some(aad), Some(&tag));
        fails_to_decrypt(handle, algorithm, input, "ciphertext changed");
        let cut = gcm_input(&text[..position], Some(aad), Some(&tag));
        fails_to_decrypt(handle, algorithm, cut, "ciphertext cut");
    }
    for position in 0..tag.len() {
        let changed = flipped(&tag, position);
        let input = gcm_input(&text, Some(aad), Some(&changed));
        fails_to_decrypt(handle, algorithm, input, "tag changed");
    }
    for changed in [None, Some(b"".as_slice()), Some(b"associates".as_slice())] {
        let input = gcm_input(&text, changed, Some(&tag));
        fails_to_decrypt(handle, algorithm, input, "associated data changed");
    }
    for position in 0..GCM_IV.len() {
        let iv = flipped(&GCM_IV, position);
        let input =
            DecryptInput { ciphertext: &text, iv: Some(&iv), aad: Some(aad), tag: Some(&tag) };
        fails_to_decrypt(handle, algorithm, input, "vector changed");
    }
}

fn gcm_wants_its_inputs(handle: &dyn KeyHandle, size: OctSize) {
    let algorithm = CipherAlgorithm::AesGcm(size);
    let long = [9; 32];
    for length in [None, Some(0), Some(8), Some(11), Some(13), Some(16), Some(32)] {
        let iv = length.map(|length| &long[..length]);
        let what = format!("GCM with a vector of {length:?} bytes");
        let input = EncryptInput { plaintext: &[1; 16], iv, aad: None };
        is_bad_input(handle.encrypt(algorithm, input), &what);
        let input = DecryptInput { ciphertext: &[1; 16], iv, aad: None, tag: Some(&[1; 16]) };
        is_bad_input(handle.decrypt(algorithm, input), &what);
    }
    for length in [None, Some(0), Some(4), Some(12), Some(15), Some(17), Some(32)] {
        let tag = length.map(|length| &long[..length]);
        let what = format!("GCM with a tag of {length:?} bytes");
        is_bad_input(handle.decrypt(algorithm, gcm_input(&[1; 16], None, tag)), &what);
    }
}

fn cbc_input(ciphertext: &[u8]) -> DecryptInput<'_> {
    DecryptInput { ciphertext, iv: Some(&CBC_IV), aad: None, tag: None }
}

fn cbc_plain(plaintext: &[u8]) -> EncryptInput<'_> {
    EncryptInput { plaintext, iv: Some(&CBC_IV), aad: None }
}

fn cbc_round_trips(handle: &dyn KeyHandle, size: OctSize) {
    let (raw, padded) = (CipherAlgorithm::AesCbc(size), CipherAlgorithm::AesCbcPad(size));
    for length in [16, 32, 4096] {
        let plaintext = vec![0x77; length];
        let made = encrypted(handle, raw, cbc_plain(&plaintext));
        assert!(made.tag.is_none());
        assert_eq!(made.ciphertext.len(), length);
        assert_eq!(decrypted(handle, raw, cbc_input(&made.ciphertext)).expose(), plaintext);
    }
    for length in (0..=33).chain([4096]) {
        let plaintext = vec![0x77; length];
        let made = encrypted(handle, padded, cbc_plain(&plaintext));
        assert_eq!(made.ciphertext.len(), (length / 16 + 1) * 16);
        assert_eq!(decrypted(handle, padded, cbc_input(&made.ciphertext)).expose(), plaintext);
        // What was padded is whole blocks to the other mode: the padding is PKCS #7.
        let blocks = decrypted(handle, raw, cbc_input(&made.ciphertext));
        let padding = made.ciphertext.len() - length;
        let bytes = blocks.expose()[length..].iter().map(|byte| usize::from(*byte));
        assert!(bytes.eq(std::iter::repeat_n(padding, padding)));
    }
    for length in [1, 8, 15, 17, 31] {
        let what = format!("CBC of {length} bytes");
        is_bad_input(handle.encrypt(raw, cbc_plain(&vec![1; length])), &what);
        for algorithm in [raw, padded] {
            fails_to_decrypt(handle, algorithm, cbc_input(&vec![1; length]), &what);
        }
    }
    fails_to_decrypt(handle, padded, cbc_input(&[]), "nothing, not even padding");
}

fn cbc_wants_its_inputs(handle: &dyn KeyHandle, size: OctSize) {
    let long = [9; 32];
    for algorithm in [CipherAlgorithm::AesCbc(size), CipherAlgorithm::AesCbcPad(size)] {
        for length in [None, Some(0), Some(8), Some(12), Some(15), Some(17), Some(32)] {
            let iv = length.map(|length| &long[..length]);
            let what = format!("{algorithm:?} with a vector of {length:?} bytes");
            let input = EncryptInput { plaintext: &[1; 16], iv, aad: None };
            is_bad_input(handle.encrypt(algorithm, input), &what);
            let input = DecryptInput { ciphertext: &[1; 16], iv, aad: None, tag: None };
            is_bad_input(handle.decrypt(algorithm, input), &what);
        }
        let input = EncryptInput { aad: Some(b"a"), ..cbc_plain(&[1; 16]) };
        is_bad_input(handle.encrypt(algorithm, input), "CBC with associated data");
        let input = DecryptInput { aad: Some(b"a"), ..cbc_input(&[1; 16]) };
        is_bad_input(handle.decrypt(algorithm, input), "CBC with associated data");
        let input = DecryptInput { tag: Some(&[1; 16]), ..cbc_input(&[1; 16]) };
        is_bad_input(handle.decrypt(algorithm, input), "CBC with a tag");
    }
}

/// Every wrong padding is the same failure, whichever byte of it is wrong.
fn cbc_padding_is_judged(handle: &dyn KeyHandle, size: OctSize) {
    let (raw, padded) = (CipherAlgorithm::AesCbc(size), CipherAlgorithm::AesCbcPad(size));
    let judged = |blocks: &[u8], what: &str| {
        let ciphertext = encrypted(handle, raw, cbc_plain(blocks)).ciphertext;
        fails_to_decrypt(handle, padded, cbc_input(&ciphertext), what);
    };
    for last in std::iter::once(0).chain(17..=255) {
        judged(&[last; 32], "a length of padding that cannot be");
    }
    for padding in 2_u8..=16 {
        for wrong in 2..=usize::from(padding) {
            let mut blocks = [0x77; 32];
            blocks[32 - usize::from(padding)..].fill(padding);
            blocks[32 - wrong] ^= 1;
            judged(&blocks, "a wrong byte in the padding");
        }
    }
}

fn wraps_of(size: OctSize) -> [CipherAlgorithm; 2] {
    [CipherAlgorithm::AesKw(size), CipherAlgorithm::CkmAesKeyWrap]
}

fn wrap_round_trips(handle: &dyn KeyHandle, other: &dyn KeyHandle, size: OctSize) {
    let [kw, ckm] = wraps_of(size);
    let kwp = CipherAlgorithm::CkmAesKeyWrapPad;
    for length in [16, 24, 32, 40, 64, 1200] {
        let key = vec![0x42; length];
        let wrapped = encrypted(handle, kw, plain(&key)).ciphertext;
        assert_eq!(wrapped.len(), length + 8);
        assert_eq!(encrypted(handle, ckm, plain(&key)).ciphertext, wrapped);
        for algorithm in [kw, ckm] {
            assert_eq!(decrypted(handle, algorithm, bare(&wrapped)).expose(), key);
            fails_to_decrypt(other, algorithm, bare(&wrapped), "another key");
        }
        fails_to_decrypt(handle, kwp, bare(&wrapped), "wrapped without padding");
    }
    for length in (1..=33).chain([1200, 1201]) {
        let key = vec![0x42; length];
        let wrapped = encrypted(handle, kwp, plain(&key)).ciphertext;
        assert_eq!(wrapped.len(), length.next_multiple_of(8) + 8);
        assert_eq!(decrypted(handle, kwp, bare(&wrapped)).expose(), key);
        fails_to_decrypt(other, kwp, bare(&wrapped), "another key");
        fails_to_decrypt(handle, kw, bare(&wrapped), "wrapped with padding");
    }
}

fn wrap_refuses_changes(handle: &dyn KeyHandle, size: OctSize) {
    let [kw, ckm] = wraps_of(size);
    for algorithm in [kw, ckm, CipherAlgorithm::CkmAesKeyWrapPad] {
        let wrapped = encrypted(handle, algorithm, plain(&[0x42; 32])).ciphertext;
        for position in 0..wrapped.len() {
            fails_to_decrypt(handle, algorithm, bare(&flipped(&wrapped, position)), "changed");
            fails_to_decrypt(handle, algorithm, bare(&wrapped[..position]), "cut off");
        }
        let longer = [&wrapped[..], &[0; 8]].concat();
        fails_to_decrypt(handle, algorithm, bare(&longer), "longer");
        for length in [1, 7, 8, 9, 15, 16, 23, 24, 25] {
            fails_to_decrypt(handle, algorithm, bare(&vec![0; length]), "zeros");
        }
    }
}

fn wrap_wants_its_inputs(handle: &dyn KeyHandle, size: OctSize) {
    let [kw, ckm] = wraps_of(size);
    let kwp = CipherAlgorithm::CkmAesKeyWrapPad;
    for algorithm in [kw, ckm] {
        for length in [0, 1, 7, 8, 9, 15, 17, 23, 33] {
            let what = format!("{algorithm:?} of {length} bytes");
            is_bad_input(handle.encrypt(algorithm, plain(&vec![1; length])), &what);
        }
    }
    is_bad_input(handle.encrypt(kwp, plain(&[])), "nothing to wrap");
    let given = Some(GCM_IV.as_slice());
    for algorithm in [kw, ckm, kwp] {
        for (iv, aad) in [(given, None), (None, given)] {
            let input = EncryptInput { plaintext: &[1; 16], iv, aad };
            is_bad_input(handle.encrypt(algorithm, input), "an extra of another mode");
        }
        for (iv, aad, tag) in [(given, None, None), (None, given, None), (None, None, given)] {
            let input = DecryptInput { ciphertext: &[1; 24], iv, aad, tag };
            is_bad_input(handle.decrypt(algorithm, input), "an extra of another mode");
        }
    }
}

fn other_algorithms_are_refused(handle: &dyn KeyHandle, spec: KeySpec) {
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|algorithm| !algorithm.fits(spec)) {
        let what = format!("{spec:?} with {algorithm:?}");
        is_bad_input(handle.sign(algorithm, &[1; 32]), &what);
        is_bad_input(handle.verify(algorithm, &[1; 32], &[1; 64]), &what);
    }
    for algorithm in CipherAlgorithm::ALL.into_iter().filter(|algorithm| !algorithm.fits(spec)) {
        let what = format!("{spec:?} with {algorithm:?}");
        for iv in [None, Some(GCM_IV.as_slice()), Some(CBC_IV.as_slice())] {
            let input = EncryptInput { plaintext: &[1; 16], iv, aad: None };
            is_bad_input(handle.encrypt(algorithm, input), &what);
            let input = DecryptInput { ciphertext: &[1; 32], iv, aad: None, tag: None };
            is_bad_input(handle.decrypt(algorithm, input), &what);
        }
    }
}
