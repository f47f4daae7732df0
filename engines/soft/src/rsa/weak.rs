//! Known weaknesses of RSA keys that a consistency check does not see.

use rsa::BoxedUint;
use zeroize::Zeroize;

/// The odd primes up to 167: the flawed library of CVE-2017-15361 (ROCA) made primes of the form
/// k·M + (65537^a mod M), M being the product of the first primes, at least up to this one.
const SMALL_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus (big-endian) is a power of 65537 modulo every small prime. A modulus of
/// another generator passes for one with a chance of about 2^-27.
pub(super) fn has_flawed_generator_fingerprint(n: &[u8]) -> bool {
    SMALL_PRIMES.into_iter().all(|prime| is_power_of_65537(remainder(n, prime), prime))
}

/// Whether |p - q| is below 2^(nlen/2 - 100) (FIPS 186-5, A.1.3): Fermat's method would then find
/// them. Both have the same length.
pub(super) fn primes_are_close(p: &[u8], q: &[u8]) -> bool {
    const BITS_APART: u32 = 100;
    let mut p = BoxedUint::from_be_slice_vartime(p);
    let mut q = BoxedUint::from_be_slice_vartime(q);
    let prime_bits = p.bits_precision();
    let mut distance = if p > q { p.wrapping_sub(&q) } else { q.wrapping_sub(&p) };
    let close = distance.bit_width() <= prime_bits - BITS_APART;
    p.zeroize();
    q.zeroize();
    distance.zeroize();
    close
}

fn remainder(number: &[u8], modulus: u32) -> u32 {
    number.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % modulus)
}

fn is_power_of_65537(value: u32, modulus: u32) -> bool {
    let generator = 65537 % modulus;
    let mut power = 1;
    loop {
        if power == value {
            return true;
        }
        power = power * generator % modulus;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_odd_primes_in_order() {
        let is_prime = |n: u32| (2..n).all(|d| !n.is_multiple_of(d));
        let expected: Vec<u32> = (3..=167).filter(|n| is_prime(*n)).collect();
        assert_eq!(SMALL_PRIMES.as_slice(), expected);
    }

    #[test]
    fn a_power_of_65537_has_the_fingerprint_and_its_neighbours_do_not() {
        let power: u64 = 65537 * 65537 * 65537;
        assert!(has_flawed_generator_fingerprint(&power.to_be_bytes()));
        assert!(!has_flawed_generator_fingerprint(&(power + 2).to_be_bytes()));
        assert!(!has_flawed_generator_fingerprint(&(power - 2).to_be_bytes()));
    }

    #[test]
    fn closeness_is_judged_by_the_distance_alone() {
        let mut p = vec![0xff; 128];
        let q = p.clone();
        assert!(primes_are_close(&p, &q), "equal");
        // Bit 923 differs: the distance is 2^923, the last that is too small for 1024-bit primes.
        p[128 - 1 - 923 / 8] ^= 1 << (923 % 8);
        assert!(primes_are_close(&p, &q));
        assert!(primes_are_close(&q, &p));
        p = q.clone();
        p[128 - 1 - 924 / 8] ^= 1 << (924 % 8);
        assert!(!primes_are_close(&p, &q));
        assert!(!primes_are_close(&q, &p));
    }
}
