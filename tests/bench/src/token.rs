//! The PKCS #11 engine next to the token's own speed: the same operation through the engine and by
//! bare calls of the module, in turns, in one process, on one thread.
//!
//! A module finds its configuration in the environment, so the work is done by this program started
//! once more.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use casemate_engine_pkcs11::{Pkcs11Engine, Token, TokenOptions};
use casemate_engine_port::{
    CipherAlgorithm, Curve, EncryptInput, Engine, KeySpec, OctSize, Place, RsaSize, Secret,
    SignAlgorithm,
};
use casemate_test_kit::softhsm::{self, LABEL};
use casemate_test_kit::tokens::{Kind, TestToken};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::Outcome;
use crate::extras::{Extra, line};
use crate::measure::Plan;

/// The word that makes this program the one that works.
pub(crate) const ROLE: &str = "token";
const ROUNDS: usize = 5;
const SPELL: Duration = Duration::from_millis(400);
/// P-256's object identifier, DER.
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// One line for each operation.
pub(crate) fn all(plan: &Plan) -> Outcome<Vec<Extra>> {
    if !plan.only.is_empty() && !"pkcs11".contains(&plan.only) {
        return Ok(Vec::new());
    }
    let mut extras = Vec::new();
    for kind in Kind::ALL {
        let token = TestToken::new(kind);
        let (variable, conf) = token.variable();
        let done = Command::new(std::env::current_exe()?)
            .args([ROLE, kind.name()])
            .arg(token.folder())
            .env(variable, conf)
            .stderr(Stdio::inherit())
            .output()?;
        if !done.status.success() {
            return Err(format!("the token of {} could not be measured", kind.name()).into());
        }
        let text = String::from_utf8(done.stdout)?;
        let lines = text.lines().filter_map(|text| text.split_once('\t'));
        let of = |what: &str| format!("{what} ({})", kind.name());
        extras.extend(lines.map(|(what, result)| line(&of(what), result)));
    }
    Ok(extras)
}

/// Measures, and writes what came of it.
pub(crate) fn work(kind: &str, folder: &str) -> Outcome<()> {
    let kind = Kind::of_name(kind);
    let options = TokenOptions {
        module: kind.module(),
        label: LABEL.to_owned(),
        pin_file: softhsm::pin_file(Path::new(folder)),
    };
    let engine = Pkcs11Engine::open(Token::load(&options)?, Secret::new(vec![1; 32]), Vec::new())?;
    // The engine has begun the module and logged in, for the whole process.
    let module = Pkcs11::new(kind.module())?;
    let slots = module.get_slots_with_initialized_token()?;
    let session = module.open_rw_session(*slots.first().ok_or("there is no token")?)?;
    es256(&engine, &session)?;
    rs256(&engine, &session)?;
    gcm(&engine, &session)
}

fn es256(engine: &Pkcs11Engine, session: &Session) -> Outcome<()> {
    let key = opened(engine, KeySpec::Ec(Curve::P256))?;
    let public = [Attribute::Token(false), Attribute::EcParams(P256.to_vec())];
    let private = [Attribute::Token(false), Attribute::Sign(true)];
    let (_, own) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    compare(
        "ES256 sign",
        || {
            drop(key.sign(SignAlgorithm::Es256, &[7; 32])?);
            Ok(())
        },
        || {
            drop(session.sign(&Mechanism::Ecdsa, own, &[7; 32])?);
            Ok(())
        },
    )
}

fn rs256(engine: &Pkcs11Engine, session: &Session) -> Outcome<()> {
    let key = opened(engine, KeySpec::Rsa(RsaSize::B2048))?;
    let public = [
        Attribute::Token(false),
        Attribute::ModulusBits(2048.into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
    ];
    let private = [Attribute::Token(false), Attribute::Sign(true)];
    let (_, own) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    // As long as a DigestInfo with its digest.
    compare(
        "RS256 sign 2048",
        || {
            drop(key.sign(SignAlgorithm::Rs256, &[7; 32])?);
            Ok(())
        },
        || {
            drop(session.sign(&Mechanism::RsaPkcs, own, &[7; 51])?);
            Ok(())
        },
    )
}

fn gcm(engine: &Pkcs11Engine, session: &Session) -> Outcome<()> {
    let key = opened(engine, KeySpec::Oct(OctSize::B256))?;
    let template =
        [Attribute::Token(false), Attribute::ValueLen(32.into()), Attribute::Encrypt(true)];
    let own = session.generate_key(&Mechanism::AesKeyGen, &template)?;
    let plaintext = [7; 4096];
    let input = EncryptInput { plaintext: &plaintext, iv: Some(&[9; 12]), aad: None };
    compare(
        "A256GCM encrypt 4 KiB",
        || {
            drop(key.encrypt(CipherAlgorithm::AesGcm(OctSize::B256), input)?);
            Ok(())
        },
        || {
            let mut iv = [9; 12];
            let params = GcmParams::new(&mut iv, &[], 128.into())?;
            drop(session.encrypt(&Mechanism::AesGcm(params), own, &plaintext)?);
            Ok(())
        },
    )
}

fn opened(
    engine: &Pkcs11Engine,
    spec: KeySpec,
) -> Outcome<std::sync::Arc<dyn casemate_engine_port::KeyHandle>> {
    let place = Place::new("bench");
    let made = engine.generate(spec, &place)?;
    Ok(engine.open(spec, &made.wrapped, &place)?)
}

/// The median rate of each, measured in turns.
fn compare(
    what: &str,
    engine: impl Fn() -> Outcome<()>,
    token: impl Fn() -> Outcome<()>,
) -> Outcome<()> {
    use std::io::Write as _;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(&engine)?);
        bare.push(rate(&token)?);
    }
    let (ours, bare) = (median(ours), median(bare));
    let text = format!(
        "{ours:.0}/s through the engine, {bare:.0}/s by bare calls of the token ({:.2})",
        ours / bare
    );
    writeln!(std::io::stdout(), "pkcs11 {what}\t{text}")?;
    Ok(())
}

fn rate(work: &impl Fn() -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < SPELL {
        work()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
