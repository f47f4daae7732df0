//! The engine port over this crate's families: makes, takes in and opens keys.
//!
//! Power-on self-tests run before there is an engine, and a new pair of keys is tried before it is
//! stored; after a failure nothing leaves any more ([`crate::self_test`]).
//!
//! Invariant: what a new key's `spec` and `public` say was read from its material, never from the
//! request.

use std::sync::Arc;

use casemate_engine_port::{
    CipherAlgorithm, Cost, DecryptInput, Decrypted, EncryptInput, Encrypted, Engine, EngineError,
    ImportedKey, KeyHandle, KeySpec, KeyUse, NewMaterial, OperationError, Place, PublicPart,
    Secret, SignAlgorithm, WrappedMaterial,
};

use crate::self_test::{self, Health};
use crate::{aead, ec, material, module, oct, rsa};

/// Key material in this process's memory, wrapped under one material key when it is stored.
pub struct SoftEngine {
    material_key: Secret,
    /// Of earlier epochs: what is wrapped under these opens, and nothing is wrapped under them.
    earlier: Vec<Secret>,
    health: Health,
}

/// A family's answer to "make" and "take in".
pub(crate) struct Made {
    pub(crate) spec: KeySpec,
    pub(crate) public: PublicPart,
    pub(crate) material: Secret,
}

impl SoftEngine {
    /// An engine that wraps under this key of 32 bytes, once every self-test has passed.
    ///
    /// # Errors
    /// When the key has another length, or a self-test fails: its name.
    pub fn new(material_key: Secret) -> Result<Self, EngineError> {
        if material_key.len() != aead::KEY_BYTES {
            return Err(EngineError::BadKey("a material key has 32 bytes"));
        }
        if !module::is_as_built() {
            return Err(EngineError::Failed("FIPS mode: the module does not run as validated"));
        }
        self_test::run(&self_test::TESTS)?;
        Ok(Self { material_key, earlier: Vec::new(), health: Health::default() })
    }

    /// With the material key of an earlier epoch, for opening only.
    ///
    /// # Errors
    /// When the key does not have 32 bytes.
    pub fn and_earlier(mut self, material_key: Secret) -> Result<Self, EngineError> {
        if material_key.len() != aead::KEY_BYTES {
            return Err(EngineError::BadKey("a material key has 32 bytes"));
        }
        self.earlier.push(material_key);
        Ok(self)
    }

    /// The material, and whether it is wrapped under the present key.
    fn unwrapped(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<(Secret, bool), EngineError> {
        let present = material::unwrap(&self.material_key, spec, place, wrapped);
        let refusal = match present {
            Ok(material) => return Ok((material, true)),
            Err(refusal) => refusal,
        };
        let mut earlier = self.earlier.iter().rev();
        let found = earlier.find_map(|key| material::unwrap(key, spec, place, wrapped).ok());
        found.map(|material| (material, false)).ok_or(refusal)
    }

    /// A new pair must fit each other before anybody sees it; one that does not stops the engine.
    fn consistent(&self, made: Made) -> Result<Made, EngineError> {
        let fits = match opened(made.spec, &made.material) {
            Ok(key) => self_test::is_consistent(&*key, made.spec),
            Err(_) => false,
        };
        if !fits {
            self.health.failed();
            return Err(EngineError::Failed("the pairwise test of a new key"));
        }
        Ok(made)
    }

    fn wrapped(&self, made: Made, place: &Place) -> Result<NewMaterial, EngineError> {
        let wrapped = material::wrap(&self.material_key, made.spec, place, &made.material)?;
        Ok(NewMaterial { wrapped, spec: made.spec, public: made.public })
    }
}

/// A key for use, from its material; only an oct key takes the bytes over.
fn opened(spec: KeySpec, material: &Secret) -> Result<Arc<dyn KeyHandle>, EngineError> {
    Ok(match spec {
        KeySpec::Rsa(size) => Arc::new(rsa::Key::from_material(size, material)?),
        KeySpec::Ec(curve) => Arc::new(ec::Key::from_material(curve, material)?),
        KeySpec::Oct(size) => {
            let own = Secret::new(material.expose().to_vec());
            Arc::new(oct::Key::from_material(size, own)?)
        }
    })
}

/// An opened key that gives nothing out in the error state.
struct Guarded {
    key: Arc<dyn KeyHandle>,
    health: Health,
}

impl KeyHandle for Guarded {
    fn cost(&self, key_use: KeyUse) -> Cost {
        self.key.cost(key_use)
    }

    fn sign(&self, algorithm: SignAlgorithm, input: &[u8]) -> Result<Vec<u8>, OperationError> {
        self.health.check_use()?;
        self.key.sign(algorithm, input)
    }

    fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        self.health.check_use()?;
        self.key.verify(algorithm, input, signature)
    }

    fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: EncryptInput<'_>,
    ) -> Result<Encrypted, OperationError> {
        self.health.check_use()?;
        self.key.encrypt(algorithm, input)
    }

    fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        input: DecryptInput<'_>,
    ) -> Result<Decrypted, OperationError> {
        self.health.check_use()?;
        self.key.decrypt(algorithm, input)
    }
}

impl Engine for SoftEngine {
    fn name(&self) -> &'static str {
        "software"
    }

    fn supports(&self, spec: KeySpec) -> bool {
        match spec {
            KeySpec::Rsa(_) | KeySpec::Ec(_) | KeySpec::Oct(_) => true,
        }
    }

    fn generate(&self, spec: KeySpec, place: &Place) -> Result<NewMaterial, EngineError> {
        self.health.check()?;
        let made = match spec {
            KeySpec::Rsa(size) => rsa::generate(size)?,
            KeySpec::Ec(curve) => ec::generate(curve)?,
            KeySpec::Oct(size) => oct::generate(size),
        };
        self.wrapped(self.consistent(made)?, place)
    }

    fn import(&self, key: ImportedKey, place: &Place) -> Result<NewMaterial, EngineError> {
        self.health.check()?;
        let made = match key {
            ImportedKey::Rsa(key) => rsa::import(&key)?,
            ImportedKey::Ec { curve, x, y, d } => ec::import(curve, &x, &y, &d)?,
            ImportedKey::Oct(key) => oct::import(key)?,
        };
        self.wrapped(made, place)
    }

    fn open(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Arc<dyn KeyHandle>, EngineError> {
        self.health.check()?;
        let (material, _) = self.unwrapped(spec, wrapped, place)?;
        let key = opened(spec, &material)?;
        Ok(Arc::new(Guarded { key, health: self.health.clone() }))
    }

    fn rewraps(&self) -> Result<(), &'static str> {
        Ok(())
    }

    fn rewrap(
        &self,
        spec: KeySpec,
        wrapped: &WrappedMaterial,
        place: &Place,
    ) -> Result<Option<WrappedMaterial>, EngineError> {
        self.health.check()?;
        let (material, is_present) = self.unwrapped(spec, wrapped, place)?;
        if is_present {
            return Ok(None);
        }
        material::wrap(&self.material_key, spec, place, &material).map(Some)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), EngineError> {
        self.health.check()?;
        crate::random(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_error_state_nothing_leaves_not_even_through_keys_that_are_open() {
        use casemate_engine_port::{Curve, OctSize};
        let engine = SoftEngine::new(Secret::new(vec![1; 32])).unwrap();
        let place = Place::new("k");
        let open = |spec| {
            let made = engine.generate(spec, &place).unwrap();
            let key = engine.open(spec, &made.wrapped, &place).unwrap();
            (made, key)
        };
        let (made, ec) = open(KeySpec::Ec(Curve::P256));
        let (_, oct) = open(KeySpec::Oct(OctSize::B256));
        let signature = ec.sign(SignAlgorithm::Es256, &[7; 32]).unwrap();
        engine.health.failed();
        assert!(ec.sign(SignAlgorithm::Es256, &[7; 32]).is_err());
        assert!(ec.verify(SignAlgorithm::Es256, &[7; 32], &signature).is_err());
        let plain = EncryptInput { plaintext: &[1; 16], iv: None, aad: None };
        assert!(oct.encrypt(CipherAlgorithm::CkmAesKeyWrap, plain).is_err());
        let wrapped = DecryptInput { ciphertext: &[1; 24], iv: None, aad: None, tag: None };
        let refused = oct.decrypt(CipherAlgorithm::CkmAesKeyWrap, wrapped);
        assert!(matches!(refused, Err(OperationError::Failed(_))));
        assert!(engine.generate(made.spec, &place).is_err());
        assert!(engine.import(ImportedKey::Oct(Secret::new(vec![1; 16])), &place).is_err());
        assert!(engine.open(made.spec, &made.wrapped, &place).is_err());
        let mut out = [0; 32];
        assert!(engine.random(&mut out).is_err());
        assert_eq!(out, [0; 32]);
    }

    #[test]
    fn a_pair_that_does_not_fit_stops_the_engine() {
        use casemate_engine_port::Curve;
        let engine = SoftEngine::new(Secret::new(vec![1; 32])).unwrap();
        let made = ec::generate(Curve::P256).unwrap();
        let mut bytes = made.material.expose().to_vec();
        bytes[20] ^= 1;
        let broken = Made { material: Secret::new(bytes), ..made };
        assert!(engine.consistent(broken).is_err());
        assert!(engine.generate(KeySpec::Ec(Curve::P256), &Place::new("k")).is_err());
    }

    #[test]
    fn material_of_an_earlier_epoch_opens_and_is_wrapped_under_the_present_one() {
        use casemate_engine_port::{Curve, OctSize};
        let engine = |byte| SoftEngine::new(Secret::new(vec![byte; 32])).unwrap();
        let (first, place) = (engine(1), Place::new("k"));
        let both = engine(2).and_earlier(Secret::new(vec![1; 32])).unwrap();
        for spec in [KeySpec::Ec(Curve::P256), KeySpec::Oct(OctSize::B256)] {
            let made = first.generate(spec, &place).unwrap();
            assert!(engine(2).open(spec, &made.wrapped, &place).is_err());
            assert!(both.open(spec, &made.wrapped, &place).is_ok());
            let again = both.rewrap(spec, &made.wrapped, &place).unwrap().unwrap();
            assert!(engine(2).open(spec, &again, &place).is_ok(), "under the present key");
            assert!(first.open(spec, &again, &place).is_err(), "and no other");
            assert_eq!(both.rewrap(spec, &again, &place).unwrap(), None);
            let other = Place::new("l");
            assert!(both.rewrap(spec, &made.wrapped, &other).is_err(), "bound to its place");
            let third = engine(3).and_earlier(Secret::new(vec![4; 32])).unwrap();
            assert!(third.rewrap(spec, &made.wrapped, &place).is_err());
            let new = both.generate(spec, &place).unwrap();
            assert!(engine(2).open(spec, &new.wrapped, &place).is_ok());
        }
        assert!(engine(2).and_earlier(Secret::new(vec![1; 31])).is_err());
    }

    #[test]
    fn a_material_key_of_another_length_is_refused() {
        for length in [0, 16, 31, 33, 64] {
            assert!(SoftEngine::new(Secret::new(vec![1; length])).is_err(), "{length}");
        }
        assert!(SoftEngine::new(Secret::new(vec![1; 32])).is_ok());
    }
}
