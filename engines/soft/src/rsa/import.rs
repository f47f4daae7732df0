//! Taking an RSA key in.
//!
//! Who checks what, cheapest first:
//!
//! | fact | checked by |
//! |---|---|
//! | size 2048, 3072 or 4096, e = 65537, both primes of half the size, d not small | here |
//! | no trace of the flawed generator of CVE-2017-15361, primes apart | [`weak`] |
//! | p·q = n, d·e = 1 mod p-1 and q-1, dp, dq, qi | AWS-LC, `RSA_check_key` |
//! | p and q prime | `crypto-primes`, Baillie-PSW; AWS-LC does not look |
//!
//! Leading zeros are dropped from every member first, so padded encodings are taken as well.
//! The primality test is not constant in time. It runs once, on a value that its owner holds in
//! clear at that moment.

use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use casemate_engine_port::{EngineError, ImportedRsa, RsaSize};
use crypto_primes::Flavor;
use rsa::BoxedUint;
use zeroize::Zeroize;

use super::{made, weak};
use crate::engine::Made;

/// 65537, big-endian: the one exponent that is offered.
const EXPONENT: [u8; 3] = [1, 0, 1];

pub(crate) fn import(key: &ImportedRsa) -> Result<Made, EngineError> {
    let n = without_zeros(&key.n);
    let size = size_of(n)?;
    if without_zeros(&key.e) != EXPONENT {
        return Err(EngineError::BadKey("the public exponent must be 65537"));
    }
    if weak::has_flawed_generator_fingerprint(n) {
        return Err(EngineError::BadKey(
            "the modulus comes from a flawed generator (CVE-2017-15361)",
        ));
    }
    let (p, q) = (without_zeros(key.p.expose()), without_zeros(key.q.expose()));
    let half = size.bytes() / 2;
    if [p, q].iter().any(|prime| prime.len() != half || prime[0] & 0x80 == 0) {
        return Err(EngineError::BadKey("each prime must have half the length of the modulus"));
    }
    let d = without_zeros(key.d.expose());
    // FIPS 186-5, A.1.1: 2^(nlen/2) < d; a smaller one can be computed from the public key.
    if d.len() <= half {
        return Err(EngineError::BadKey("the private exponent is too small"));
    }
    if weak::primes_are_close(p, q) {
        return Err(EngineError::BadKey("the primes are too close to each other"));
    }
    let pair = KeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n, e: EXPONENT.as_slice() },
        d,
        p,
        q,
        dP: without_zeros(key.dp.expose()),
        dQ: without_zeros(key.dq.expose()),
        qInv: without_zeros(key.qi.expose()),
    })
    .map_err(|_| EngineError::BadKey("the members of the RSA key do not belong together"))?;
    if !is_prime(p) || !is_prime(q) {
        return Err(EngineError::BadKey("a factor of the modulus is not prime"));
    }
    made(size, &pair)
}

fn size_of(n: &[u8]) -> Result<RsaSize, EngineError> {
    RsaSize::ALL
        .into_iter()
        .find(|size| n.len() == size.bytes() && n[0] & 0x80 != 0)
        .ok_or(EngineError::BadKey("the modulus must have 2048, 3072 or 4096 bits"))
}

fn is_prime(candidate: &[u8]) -> bool {
    let mut number = BoxedUint::from_be_slice_vartime(candidate);
    let prime = crypto_primes::is_prime(Flavor::Any, &number);
    number.zeroize();
    prime
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
