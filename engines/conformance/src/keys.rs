//! Test keys, sound and unsound. They are published here, so they guard nothing.

use casemate_engine_port::{Curve, ImportedKey, ImportedRsa, RsaSize, Secret};

/// The members of a key, in the order of the file.
pub(super) struct Members(Vec<(String, Vec<u8>)>);

impl Members {
    fn parse(file: &str) -> Self {
        let members = file
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, hex) = line.split_once(' ').expect("a name and a number");
                (name.to_owned(), bytes(hex))
            })
            .collect();
        Self(members)
    }

    pub(super) fn member(&self, name: &str) -> &[u8] {
        let (_, value) =
            self.0.iter().find(|(member, _)| member == name).expect("the file has the member");
        value
    }

    /// The same key with one member replaced.
    pub(super) fn with(mut self, name: &str, value: Vec<u8>) -> Self {
        let (_, slot) =
            self.0.iter_mut().find(|(member, _)| member == name).expect("the file has the member");
        *slot = value;
        self
    }

    pub(super) fn rsa(&self) -> ImportedKey {
        let secret = |name| Secret::new(self.member(name).to_vec());
        ImportedKey::Rsa(ImportedRsa {
            n: self.member("n").to_vec(),
            e: self.member("e").to_vec(),
            d: secret("d"),
            p: secret("p"),
            q: secret("q"),
            dp: secret("dp"),
            dq: secret("dq"),
            qi: secret("qi"),
        })
    }

    pub(super) fn ec(&self, curve: Curve) -> ImportedKey {
        ImportedKey::Ec {
            curve,
            x: self.member("x").to_vec(),
            y: self.member("y").to_vec(),
            d: Secret::new(self.member("d").to_vec()),
        }
    }
}

/// A sound RSA key of this size, the same each time.
pub fn imported_rsa(size: RsaSize) -> ImportedKey {
    rsa(size).rsa()
}

/// A sound EC key of this curve, the same each time; its scalar starts with a zero byte.
pub fn imported_ec(curve: Curve) -> ImportedKey {
    ec(curve).ec(curve)
}

pub(super) fn rsa(size: RsaSize) -> Members {
    Members::parse(match size {
        RsaSize::B2048 => include_str!("keys/rsa-2048.txt"),
        RsaSize::B3072 => include_str!("keys/rsa-3072.txt"),
        RsaSize::B4096 => include_str!("keys/rsa-4096.txt"),
    })
}

/// With the order of the curve (`order`) and of its field (`prime`).
pub(super) fn ec(curve: Curve) -> Members {
    Members::parse(match curve {
        Curve::P256 => include_str!("keys/ec-p-256.txt"),
        Curve::P256K => include_str!("keys/ec-p-256k.txt"),
        Curve::P384 => include_str!("keys/ec-p-384.txt"),
        Curve::P521 => include_str!("keys/ec-p-521.txt"),
    })
}

/// RSA keys that no engine may take, with what is wrong with them.
pub fn unsound_rsa() -> [(&'static str, ImportedKey); 8] {
    [
        ("1024 bits", include_str!("keys/rsa-1024.txt")),
        ("exponent 3", include_str!("keys/rsa-exponent-3.txt")),
        ("flawed generator", include_str!("keys/rsa-flawed-generator.txt")),
        ("close primes", include_str!("keys/rsa-close-primes.txt")),
        ("equal primes", include_str!("keys/rsa-equal-primes.txt")),
        ("small private exponent", include_str!("keys/rsa-small-private-exponent.txt")),
        ("unbalanced primes", include_str!("keys/rsa-unbalanced.txt")),
        ("composite factor", include_str!("keys/rsa-composite-factor.txt")),
    ]
    .map(|(what, file)| (what, Members::parse(file).rsa()))
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        })
        .collect()
}
