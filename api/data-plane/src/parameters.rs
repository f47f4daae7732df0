//! Bodies and queries, turned into requests of the domain. Nothing here asks what a key or an HSM
//! is; a parameter is well-formed or it is refused, with its name.

use casemate_engine_port::{
    CipherAlgorithm, Curve, ImportedKey, ImportedRsa, KeySpec, OctSize, RsaSize, Secret,
    SignAlgorithm,
};
use casemate_hsm::UnixSeconds;
use casemate_hsm::keys::{
    CreateKey, DecryptRequest, EncryptRequest, ImportKey, KeyOp, NewAttributes, Selector,
    SignRequest, Tags, UpdateKey, VerifyRequest,
};
use casemate_hsm::rbac::DefinitionError;
use casemate_wire::{
    Binary, JsonWebKey, KeyCreateParameters, KeyImportParameters, KeyOperationParameters,
    KeyRequestAttributes, KeySignParameters, KeyUpdateParameters, KeyVerifyParameters, Number,
    RandomBytesParameters, UpdateSettingParameters,
};

use crate::body::json;
use crate::refusal::Refusal;

/// The only public exponent of RSA keys.
const PUBLIC_EXPONENT: i64 = 65_537;

/// A parameter that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadParameter {
    #[error("the key type '{0}' is not supported; use RSA-HSM, EC-HSM or oct-HSM")]
    KeyType(Given),
    #[error("an RSA key has 2048, 3072 or 4096 bits, not {0}")]
    RsaSize(i64),
    #[error("an oct key has 128, 192 or 256 bits, not {0}")]
    OctSize(i64),
    #[error("the curve '{0}' is not supported; use P-256, P-256K, P-384 or P-521")]
    Curve(Given),
    #[error("'key_size' {0} is not that of the curve; leave it out")]
    CurveSize(i64),
    #[error("'public_exponent' must be 65537, not {0}")]
    PublicExponent(i64),
    #[error("the key operation '{1}' at 'key_ops[{0}]' is unknown")]
    KeyOp(usize, Given),
    #[error("the algorithm '{0}' is unknown")]
    Algorithm(Given),
    #[error("the key lacks its member '{0}'")]
    KeyMember(&'static str),
    #[error(
        "secure key release is not available in this release: leave out 'release_policy' and \
         'exportable'"
    )]
    Release,
    #[error("external keys are not available in this release: leave out 'external_key'")]
    ExternalKey,
    #[error(
        "importing a transfer blob ('key_hsm', BYOK) is not available in this release: import the \
         key as a JSON web key"
    )]
    TransferBlob,
    #[error("'token' and 'useManagedIdentity' are two ways to open the storage; send one of them")]
    TokenAndIdentity,
    #[error("'count' must be a small positive number")]
    Count,
    #[error("'maxresults' must be a number from 1 to {PAGE_ITEMS_MAX}")]
    MaxResults,
    #[error("'$skiptoken' is none that was given out here; start the list anew")]
    SkipToken,
    #[error("'$filter' must be atScope() or principalId eq 'GUID'")]
    AssignmentsFilter,
    #[error("'$filter' must be atScopeAndBelow() or roleName eq 'NAME'")]
    DefinitionsFilter,
    #[error(
        "'dataActions' and 'notDataActions' hold whole names of data actions, and '{given}' at \
         'permissions[{permission}].{list}[{index}]' is none; the built-in roles list them all, \
         and there is no wildcard"
    )]
    DataAction {
        /// Which permission.
        permission: usize,
        /// Which list of it.
        list: &'static str,
        /// Which member of that.
        index: usize,
        /// What stands there.
        given: Given,
    },
    #[error("'assignableScopes' can only be [\"/\"]")]
    AssignableScopes,
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error("an explanation needs the parameters 'principal' (a GUID), 'action' and 'scope'")]
    ExplanationLacks,
    #[error("'groups' holds up to {GROUPS_MAX} GUIDs, with commas between them")]
    Groups,
    #[error("'action' must be the name of a data action, and {0} is none")]
    Action(Given),
    #[error("'scope' must be /, /keys, /keys/PREFIX* or /keys/NAME")]
    Scope,
    #[error("'roleDefinitionId' must end with a role definition's GUID")]
    RoleDefinitionId,
    #[error("'principalId' must be the object id, a GUID")]
    PrincipalId,
}

/// Most groups that an explanation may be asked about.
pub(crate) const GROUPS_MAX: usize = 200;

/// Most items of a page of keys.
pub(crate) const PAGE_ITEMS_MAX: usize = 25;

/// Longest word that is repeated, in bytes: the longest name is shorter, and the shortest key, of
/// 128 bits in base64url, is longer. A key that was put into the wrong member is not repeated.
const GIVEN_BYTES_MAX: usize = 21;

/// How the name of a data action begins.
const ACTION_BEGIN: &str = "microsoft.keyvault/";
/// Longest name of a data action that is repeated, in bytes.
const ACTION_BYTES_MAX: usize = 128;

/// A word that the caller sent, if it can be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given(String);

impl Given {
    /// The name of a data action is longer, and begins as no key does.
    pub(crate) fn action(text: &str) -> Self {
        let begins = text.get(..ACTION_BEGIN.len()).map(str::to_ascii_lowercase);
        let is_name = begins.as_deref() == Some(ACTION_BEGIN)
            && text.len() <= ACTION_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.*-_".contains(&byte));
        if is_name { Self(text.to_owned()) } else { Self::new(text) }
    }

    pub(crate) fn new(text: &str) -> Self {
        if text.len() > GIVEN_BYTES_MAX {
            return Self(format!("of {} bytes", text.len()));
        }
        let shown = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        Self(text.chars().map(shown).collect())
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn create(body: &[u8]) -> Result<CreateKey, Refusal> {
    let wire: KeyCreateParameters = json(body)?;
    if wire.release_policy.is_some() {
        return Err(BadParameter::Release.into());
    }
    Ok(CreateKey {
        spec: spec(&wire)?,
        key_ops: wire.key_ops.map(|ops| key_ops(&ops)).transpose()?,
        attributes: attributes(wire.attributes.as_ref())?,
        tags: Tags::new(wire.tags.unwrap_or_default())
            .map_err(casemate_hsm::keys::CreateRefusal::from)?,
    })
}

pub(crate) fn import(body: &[u8]) -> Result<ImportKey, Refusal> {
    let wire: KeyImportParameters = json(body)?;
    if wire.release_policy.is_some() {
        return Err(BadParameter::Release.into());
    }
    let ops = wire.key.key_ops.as_deref().map(key_ops).transpose()?;
    Ok(ImportKey {
        material: material(wire.key)?,
        key_ops: ops,
        attributes: attributes(wire.attributes.as_ref())?,
        tags: Tags::new(wire.tags.unwrap_or_default())
            .map_err(casemate_hsm::keys::ImportRefusal::from)?,
    })
}

pub(crate) fn update(body: &[u8], version: Selector) -> Result<UpdateKey, Refusal> {
    let wire: KeyUpdateParameters = json(body)?;
    if wire.release_policy.is_some() {
        return Err(BadParameter::Release.into());
    }
    let tags = wire.tags.map(Tags::new).transpose();
    Ok(UpdateKey {
        version,
        key_ops: wire.key_ops.map(|ops| key_ops(&ops)).transpose()?,
        attributes: attributes(wire.attributes.as_ref())?,
        tags: tags.map_err(casemate_hsm::keys::UpdateRefusal::from)?,
    })
}

pub(crate) fn encrypt(body: &[u8], version: Selector) -> Result<EncryptRequest, Refusal> {
    let wire: KeyOperationParameters = json(body)?;
    Ok(EncryptRequest {
        version,
        algorithm: cipher(&wire.alg)?,
        plaintext: secret(wire.value),
        iv: wire.iv.map(Binary::into_bytes),
        aad: wire.aad.map(Binary::into_bytes),
        tag_given: wire.tag.is_some(),
    })
}

pub(crate) fn decrypt(body: &[u8], version: Selector) -> Result<DecryptRequest, Refusal> {
    let wire: KeyOperationParameters = json(body)?;
    Ok(DecryptRequest {
        version,
        algorithm: cipher(&wire.alg)?,
        ciphertext: wire.value.into_bytes(),
        iv: wire.iv.map(Binary::into_bytes),
        aad: wire.aad.map(Binary::into_bytes),
        tag: wire.tag.map(Binary::into_bytes),
    })
}

pub(crate) fn sign(body: &[u8], version: Selector) -> Result<SignRequest, Refusal> {
    let wire: KeySignParameters = json(body)?;
    let algorithm = signature(&wire.alg)?;
    Ok(SignRequest { version, algorithm, input: wire.value.into_bytes() })
}

pub(crate) fn verify(body: &[u8], version: Selector) -> Result<VerifyRequest, Refusal> {
    let wire: KeyVerifyParameters = json(body)?;
    Ok(VerifyRequest {
        version,
        algorithm: signature(&wire.alg)?,
        input: wire.digest.into_bytes(),
        signature: wire.value.into_bytes(),
    })
}

pub(crate) fn random_count(body: &[u8]) -> Result<usize, Refusal> {
    let wire: RandomBytesParameters = json(body)?;
    usize::try_from(wire.count.0).map_err(|_| BadParameter::Count.into())
}

pub(crate) fn setting_value(body: &[u8]) -> Result<String, Refusal> {
    let wire: UpdateSettingParameters<'_> = json(body)?;
    Ok(wire.value.into_owned())
}

fn spec(wire: &KeyCreateParameters) -> Result<KeySpec, BadParameter> {
    let size = wire.key_size.map(|Number(bits)| bits);
    match wire.kty.as_str() {
        "RSA" | "RSA-HSM" => {
            if let Some(Number(given)) = wire.public_exponent
                && given != PUBLIC_EXPONENT
            {
                return Err(BadParameter::PublicExponent(given));
            }
            let bits = size.unwrap_or(2048);
            let size = u32::try_from(bits).ok().and_then(RsaSize::from_bits);
            size.map(KeySpec::Rsa).ok_or(BadParameter::RsaSize(bits))
        }
        "EC" | "EC-HSM" => {
            let curve = wire.crv.as_deref().map_or(Ok(Curve::P256), curve)?;
            match size {
                Some(bits) if bits != curve_bits(curve) => Err(BadParameter::CurveSize(bits)),
                _ => Ok(KeySpec::Ec(curve)),
            }
        }
        "oct" | "oct-HSM" => {
            let bits = size.unwrap_or(256);
            let size = u32::try_from(bits).ok().and_then(OctSize::from_bits);
            size.map(KeySpec::Oct).ok_or(BadParameter::OctSize(bits))
        }
        other => Err(BadParameter::KeyType(Given::new(other))),
    }
}

fn curve(name: &str) -> Result<Curve, BadParameter> {
    Curve::from_name(name).ok_or_else(|| BadParameter::Curve(Given::new(name)))
}

fn curve_bits(curve: Curve) -> i64 {
    match curve {
        Curve::P256 | Curve::P256K => 256,
        Curve::P384 => 384,
        Curve::P521 => 521,
    }
}

fn material(key: JsonWebKey) -> Result<ImportedKey, BadParameter> {
    if key.key_hsm.is_some() {
        return Err(BadParameter::TransferBlob);
    }
    let need = |name, member: Option<Binary>| member.ok_or(BadParameter::KeyMember(name));
    match key.kty.as_str() {
        "RSA" | "RSA-HSM" => Ok(ImportedKey::Rsa(ImportedRsa {
            n: need("n", key.n)?.into_bytes(),
            e: need("e", key.e)?.into_bytes(),
            d: secret(need("d", key.d)?),
            p: secret(need("p", key.p)?),
            q: secret(need("q", key.q)?),
            dp: secret(need("dp", key.dp)?),
            dq: secret(need("dq", key.dq)?),
            qi: secret(need("qi", key.qi)?),
        })),
        "EC" | "EC-HSM" => Ok(ImportedKey::Ec {
            curve: curve(key.crv.as_deref().ok_or(BadParameter::KeyMember("crv"))?)?,
            x: need("x", key.x)?.into_bytes(),
            y: need("y", key.y)?.into_bytes(),
            d: secret(need("d", key.d)?),
        }),
        "oct" | "oct-HSM" => Ok(ImportedKey::Oct(secret(need("k", key.k)?))),
        other => Err(BadParameter::KeyType(Given::new(other))),
    }
}

fn secret(member: Binary) -> Secret {
    Secret::new(member.into_bytes())
}

fn attributes(wire: Option<&KeyRequestAttributes>) -> Result<NewAttributes, BadParameter> {
    let Some(wire) = wire else { return Ok(NewAttributes::default()) };
    if wire.exportable == Some(true) {
        return Err(BadParameter::Release);
    }
    if wire.external_key.is_some() {
        return Err(BadParameter::ExternalKey);
    }
    let time = |number: Option<Number>| number.map(|Number(seconds)| UnixSeconds(seconds));
    Ok(NewAttributes { enabled: wire.enabled, not_before: time(wire.nbf), expires: time(wire.exp) })
}

fn key_ops(names: &[String]) -> Result<Vec<KeyOp>, BadParameter> {
    let find = |(index, name): (usize, &String)| {
        KeyOp::from_name(name).ok_or_else(|| BadParameter::KeyOp(index, Given::new(name)))
    };
    names.iter().enumerate().map(find).collect()
}

fn cipher(name: &str) -> Result<CipherAlgorithm, BadParameter> {
    CipherAlgorithm::from_name(name).ok_or_else(|| BadParameter::Algorithm(Given::new(name)))
}

fn signature(name: &str) -> Result<SignAlgorithm, BadParameter> {
    SignAlgorithm::from_name(name).ok_or_else(|| BadParameter::Algorithm(Given::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of(body: &str) -> Result<KeySpec, String> {
        create(body.as_bytes()).map(|request| request.spec).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn software_types_are_promoted_and_sizes_have_defaults() {
        for (body, expected) in [
            (r#"{"kty":"RSA"}"#, KeySpec::Rsa(RsaSize::B2048)),
            (
                r#"{"kty":"RSA-HSM","key_size":4096,"public_exponent":65537}"#,
                KeySpec::Rsa(RsaSize::B4096),
            ),
            (r#"{"kty":"EC"}"#, KeySpec::Ec(Curve::P256)),
            (r#"{"kty":"EC-HSM","crv":"P-521","key_size":521}"#, KeySpec::Ec(Curve::P521)),
            (r#"{"kty":"oct"}"#, KeySpec::Oct(OctSize::B256)),
            (r#"{"kty":"oct-HSM","key_size":"192"}"#, KeySpec::Oct(OctSize::B192)),
        ] {
            assert_eq!(spec_of(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_no_key_can_be_is_refused() {
        for body in [
            r#"{"kty":"rsa"}"#,
            r#"{"kty":"AKP-HSM","alg":"ML-DSA-65"}"#,
            r#"{"kty":"RSA","key_size":1024}"#,
            r#"{"kty":"RSA","key_size":-2048}"#,
            r#"{"kty":"RSA","key_size":4294969344}"#,
            r#"{"kty":"RSA","public_exponent":3}"#,
            r#"{"kty":"EC","crv":"p-256"}"#,
            r#"{"kty":"EC","crv":"P-256","key_size":384}"#,
            r#"{"kty":"oct","key_size":255}"#,
            r#"{"kty":"EC","key_ops":["sing"]}"#,
            r#"{"kty":"EC","release_policy":{}}"#,
            r#"{"kty":"EC","attributes":{"exportable":true}}"#,
            r#"{"kty":"EC","attributes":{"external_key":{"id":"a"}}}"#,
        ] {
            assert!(spec_of(body).is_err(), "{body}");
        }
    }

    #[test]
    fn imports_need_every_member_of_their_type() {
        for (body, says) in [
            (r#"{"key":{"kty":"RSA","n":"AA","e":"AQAB","d":"AA"}}"#, "'p'"),
            (r#"{"key":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}"#, "'d'"),
            (r#"{"key":{"kty":"EC","x":"AA","y":"AA","d":"AA"}}"#, "'crv'"),
            (r#"{"key":{"kty":"oct-HSM"}}"#, "'k'"),
            (r#"{"key":{"kty":"oct-HSM","key_hsm":"AAAA"}}"#, "BYOK"),
            (r#"{"key":{"kty":"OKP","d":"AA"}}"#, "'OKP'"),
        ] {
            let refusal = import(body.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains(says), "{body}: {refusal}");
        }
    }

    #[test]
    fn what_is_repeated_is_short_and_printable() {
        let refusal = cipher(&"\u{7}ä\n".repeat(100)).unwrap_err().to_string();
        assert!(refusal.is_ascii() && refusal.len() < 80, "{refusal}");
    }
}
