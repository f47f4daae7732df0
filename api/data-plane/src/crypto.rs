//! Uses of keys: sign, verify, encrypt, decrypt, wrap, unwrap.

use casemate_hsm::KeyName;
use casemate_hsm::keys::{Deciphered, Enciphered, Selector};
use casemate_hsm::rbac::{Scope, act};
use casemate_wire::{KeyOperationResult, KeyVerifyResult, Wiped};
use http::StatusCode;

use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::parameters;
use crate::refusal::Refusal;
use crate::render::kid;

type Answered = Result<Answer, Refusal>;

pub(crate) async fn sign(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::sign(body, version)?;
    let alg = request.algorithm.name();
    x.note_algorithm(alg);
    let permit = x.authorize::<act::KeysSign>(Scope::Key(name))?;
    let signed = x.hsm().sign(&permit, request, |key| x.note_used(key)).await?;
    let kid = kid(&x.url, &signed.used.key());
    let value = &signed.signature;
    let result = KeyOperationResult { kid: &kid, alg, value, iv: None, tag: None, aad: None };
    let answer = Answer::json(StatusCode::OK, result.to_json());
    x.used(&permit, &signed.used, answer).await
}

pub(crate) async fn verify(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::verify(body, version)?;
    x.note_algorithm(request.algorithm.name());
    let permit = x.authorize::<act::KeysVerify>(Scope::Key(name))?;
    let verified = x.hsm().verify(&permit, request, |key| x.note_used(key)).await?;
    let result = KeyVerifyResult { value: verified.valid };
    let answer = Answer::json(StatusCode::OK, result.to_json());
    x.used(&permit, &verified.used, answer).await
}

pub(crate) async fn encrypt(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::encrypt(body, version)?;
    x.note_algorithm(request.algorithm.name());
    let permit = x.authorize::<act::KeysEncrypt>(Scope::Key(name))?;
    let done = x.hsm().encrypt(&permit, request, |key| x.note_used(key)).await?;
    let answer = enciphered(&x.url, &done);
    x.used(&permit, &done.used, answer).await
}

pub(crate) async fn wrap_key(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::encrypt(body, version)?;
    x.note_algorithm(request.algorithm.name());
    let permit = x.authorize::<act::KeysWrap>(Scope::Key(name))?;
    let done = x.hsm().wrap_key(&permit, request, |key| x.note_used(key)).await?;
    let answer = enciphered(&x.url, &done);
    x.used(&permit, &done.used, answer).await
}

pub(crate) async fn decrypt(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::decrypt(body, version)?;
    x.note_algorithm(request.algorithm.name());
    let permit = x.authorize::<act::KeysDecrypt>(Scope::Key(name))?;
    let done = x.hsm().decrypt(&permit, request, |key| x.note_used(key)).await?;
    let answer = deciphered(&x.url, &done);
    x.used(&permit, &done.used, answer).await
}

pub(crate) async fn unwrap_key(
    x: &mut Exchange,
    name: KeyName,
    version: Selector,
    body: &[u8],
) -> Answered {
    let request = parameters::decrypt(body, version)?;
    x.note_algorithm(request.algorithm.name());
    let permit = x.authorize::<act::KeysUnwrap>(Scope::Key(name))?;
    let done = x.hsm().unwrap_key(&permit, request, |key| x.note_used(key)).await?;
    let answer = deciphered(&x.url, &done);
    x.used(&permit, &done.used, answer).await
}

fn enciphered(url: &str, done: &Enciphered) -> Answer {
    let result = KeyOperationResult {
        kid: &kid(url, &done.used.key()),
        alg: done.algorithm.name(),
        value: &done.ciphertext,
        iv: done.iv.as_deref(),
        tag: done.tag.as_deref(),
        aad: done.aad.as_deref(),
    };
    Answer::json(StatusCode::OK, result.to_json())
}

fn deciphered(url: &str, done: &Deciphered) -> Answer {
    let result = KeyOperationResult {
        kid: &kid(url, &done.used.key()),
        alg: done.algorithm.name(),
        value: done.plaintext.expose(),
        iv: None,
        tag: None,
        aad: None,
    };
    Answer::secret(StatusCode::OK, Wiped::new(result.to_json()))
}
