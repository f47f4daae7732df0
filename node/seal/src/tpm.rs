//! A TPM 2.0: it seals a random key, and gives it back on this machine alone and, if that was
//! asked for, only while its registers (PCRs) have the values that they had then.
//!
//! The key is sealed under a storage key that the TPM derives anew each time (owner hierarchy,
//! P-256), so nothing is kept in the TPM. It travels between processor and TPM in a session that is
//! salted with that key, so who listens on the bus does not read it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use casemate_engine_port::Secret;
use casemate_engine_soft::seal::{open_with_key, under_key};
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Kind;
use tss_esapi::constants::{CommandCode, SessionType};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Digest, EccPoint, KeyedHashScheme, PcrSelectionList, PcrSelectionListBuilder, PcrSlot, Private,
    Public, PublicBuilder, PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData,
    SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::{Context, Error, TctiNameConf};

use crate::blob::{Reader, Writer};
use crate::error::GuardError;
use crate::guard::{Keeper, not_opened};
use crate::keys::fresh;

/// The kind of such a slot.
const KIND: u8 = 3;
/// Longest part of a sealed object, in bytes.
const PART_BYTES_MAX: usize = 1024;

/// A TPM, named.
pub(crate) struct Tpm {
    device: String,
    pcrs: Vec<u8>,
}

/// A sealed object, as the TPM gives it out.
struct Object {
    public: Vec<u8>,
    private: Vec<u8>,
}

type Done<T> = Result<T, Error>;

impl Tpm {
    /// Nothing is asked of it yet.
    pub(crate) fn of(device: &str, pcrs: &[u8]) -> Self {
        Self { device: device.to_owned(), pcrs: pcrs.to_vec() }
    }

    fn context(&self) -> Result<Context, GuardError> {
        TctiNameConf::from_str(&self.device).and_then(Context::new).map_err(|cause| {
            GuardError::NoTpm { device: self.device.clone(), cause: Box::new(cause) }
        })
    }

    fn failed(&self, step: &'static str) -> impl Fn(Error) -> GuardError {
        let device = self.device.clone();
        move |cause| GuardError::Tpm { device: device.clone(), step, cause: Box::new(cause) }
    }

    fn seal_key(&self, key: &Secret) -> Result<Object, GuardError> {
        let mut context = self.context()?;
        let primary = primary(&mut context).map_err(self.failed("derive its storage key"))?;
        let public = self.policy(&mut context, primary).and_then(sealed_object);
        let public = public.map_err(self.failed("compute the policy"))?;
        let data = SensitiveData::try_from(key.expose().to_vec());
        let data = data.map_err(self.failed("take the key"))?;
        let made = session(&mut context, primary, SessionType::Hmac).and_then(|session| {
            context.execute_with_session(Some(session), |context| {
                context.create(primary, public, None, Some(data), None, None)
            })
        });
        let made = made.map_err(self.failed("seal the key"))?;
        let public = made.out_public.marshall().map_err(self.failed("seal the key"))?;
        Ok(Object { public, private: made.out_private.value().to_vec() })
    }

    fn open_key(&self, object: &Object, slot: &Path) -> Result<Secret, GuardError> {
        let malformed = |_| GuardError::Malformed { slot: slot.to_owned(), cause: None };
        let public = Public::unmarshall(&object.public).map_err(malformed)?;
        let private = Private::try_from(object.private.as_slice()).map_err(malformed)?;
        let mut context = self.context()?;
        let primary = primary(&mut context).map_err(self.failed("derive its storage key"))?;
        let loaded = session(&mut context, primary, SessionType::Hmac).and_then(|session| {
            context.execute_with_session(Some(session), |context| {
                context.load(primary, private, public)
            })
        });
        let loaded = loaded.map_err(|cause| self.not_loaded(cause, slot))?;
        let opened = session(&mut context, primary, SessionType::Policy).and_then(|session| {
            self.satisfy(&mut context, PolicySession::try_from(session)?)?;
            context.execute_with_session(Some(session), |context| context.unseal(loaded.into()))
        });
        let opened = opened.map_err(|cause| self.not_unsealed(cause, slot))?;
        Ok(Secret::new(opened.value().to_vec()))
    }

    /// The digest of what must hold when the key is wanted.
    fn policy(&self, context: &mut Context, primary: KeyHandle) -> Done<Digest> {
        let trial = PolicySession::try_from(session(context, primary, SessionType::Trial)?)?;
        self.satisfy(context, trial)?;
        context.policy_get_digest(trial)
    }

    fn satisfy(&self, context: &mut Context, session: PolicySession) -> Done<()> {
        if !self.pcrs.is_empty() {
            // No digest: the values of now count.
            context.policy_pcr(session, Digest::default(), self.selection()?)?;
        }
        context.policy_command_code(session, CommandCode::Unseal)
    }

    fn selection(&self) -> Done<PcrSelectionList> {
        let slot = |pcr: &u8| PcrSlot::try_from(1_u32 << u32::from(*pcr));
        let slots = self.pcrs.iter().map(slot).collect::<Done<Vec<_>>>()?;
        PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &slots).build()
    }

    fn not_loaded(&self, cause: Error, slot: &Path) -> GuardError {
        let (device, slot) = (self.device.clone(), slot.to_owned());
        match kind(cause) {
            // Another TPM has another storage key, under which the object's own check fails.
            Some(Kind::Integrity | Kind::Size | Kind::Binding | Kind::Attributes | Kind::Value) => {
                GuardError::OtherTpm { device, slot }
            }
            _ => self.failed("load the sealed key")(cause),
        }
    }

    fn not_unsealed(&self, cause: Error, slot: &Path) -> GuardError {
        match kind(cause) {
            Some(Kind::PolicyFail | Kind::PcrChanged | Kind::Policy) => {
                GuardError::PcrsChanged { slot: slot.to_owned(), pcrs: self.pcrs.clone().into() }
            }
            _ => self.failed("unseal the key")(cause),
        }
    }
}

impl Keeper for Tpm {
    fn seal(&self, payload: &Secret, slot: &Path) -> Result<Vec<u8>, GuardError> {
        let key = fresh();
        let object = self.seal_key(&key)?;
        let inner = under_key(&key, payload)
            .map_err(|cause| GuardError::Seal { slot: slot.to_owned(), cause })?;
        let mut out = Writer::new(KIND);
        out.part(&object.public);
        out.part(&object.private);
        Ok(out.end(&inner))
    }

    fn open(&self, sealed: &[u8], slot: &Path) -> Result<Secret, GuardError> {
        let mut parts = Reader::new(KIND, sealed, slot)?;
        let public = parts.part(PART_BYTES_MAX)?.to_vec();
        let private = parts.part(PART_BYTES_MAX)?.to_vec();
        let inner = parts.rest();
        let key = self.open_key(&Object { public, private }, slot)?;
        let wrong = GuardError::Malformed { slot: PathBuf::from(slot), cause: None };
        open_with_key(&key, inner).map_err(|cause| not_opened(cause, slot, wrong))
    }
}

fn kind(error: Error) -> Option<Kind> {
    match error {
        Error::Tss2Error(code) => code.kind(),
        Error::WrapperError(_) => None,
    }
}

/// The storage key: the same each time on the same TPM, and kept nowhere.
fn primary(context: &mut Context) -> Done<KeyHandle> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_decrypt(true)
        .with_restricted(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    let public = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()?;
    let made = context.execute_with_nullauth_session::<_, _, Error>(|context| {
        context.create_primary(Hierarchy::Owner, public, None, None, None, None)
    });
    made.map(|made| made.key_handle)
}

/// What is sealed: data that opens by the policy alone.
fn sealed_object(policy: Digest) -> Done<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

/// A session salted with the storage key, whose first parameters are encrypted both ways.
fn session(context: &mut Context, primary: KeyHandle, kind: SessionType) -> Done<AuthSession> {
    let symmetric = SymmetricDefinition::AES_128_CFB;
    let hash = HashingAlgorithm::Sha256;
    let session = context.start_auth_session(Some(primary), None, None, kind, symmetric, hash)?;
    let session =
        session.ok_or(Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm))?;
    let builder = SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true);
    let (attributes, mask) = builder.build();
    context.tr_sess_set_attributes(session, attributes, mask)?;
    Ok(session)
}
