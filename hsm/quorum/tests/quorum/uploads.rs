//! Uploads: what reaches an HSM, and what must not be believed.

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{BLOB_BYTES_MAX, Hidden, JweError, Upload, UploadError, jwe, wrap};
use serde_json::{Value, json};

use crate::kit::{contents, items, officers};

/// The officer whose key stands for the exchange key.
const EXCHANGE: usize = 10;

fn wrapped() -> Value {
    let text = wrap(&items(), &officers()[EXCHANGE].holder, &SoftPrimitives).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn open(upload: &Value) -> Result<Vec<(String, Vec<u8>)>, UploadError> {
    let exchange = &officers()[EXCHANGE];
    let upload = Upload::parse(upload.to_string().as_bytes())?;
    let items = upload.open(exchange.holder.thumbprint(), &*exchange.key, &SoftPrimitives)?;
    Ok(contents(&items))
}

fn refused(change: impl FnOnce(&mut Value)) -> UploadError {
    let mut upload = wrapped();
    change(&mut upload);
    open(&upload).unwrap_err()
}

#[test]
fn what_a_client_wrapped_opens() {
    assert_eq!(open(&wrapped()).unwrap(), contents(&items()));
    assert_ne!(wrapped()["WrappedKey"]["enc_key"], wrapped()["WrappedKey"]["enc_key"]);
}

#[test]
fn another_exchange_key_is_named() {
    let expected = officers()[EXCHANGE].holder.thumbprint().to_owned();
    let found = officers()[0].holder.thumbprint().to_owned();
    let other = wrap(&items(), &officers()[0].holder, &SoftPrimitives).unwrap();
    let other: Value = serde_json::from_str(&other).unwrap();
    let refusal = UploadError::OtherExchangeKey { found, expected };
    assert_eq!(open(&other).unwrap_err(), refusal);
    // Under our thumbprint, but encrypted to another key.
    let lied =
        refused(|upload| upload["WrappedKey"]["enc_key"] = other["WrappedKey"]["enc_key"].clone());
    assert_eq!(lied, UploadError::WrappedKey(JweError::Key));
}

#[test]
fn a_key_of_the_blob_of_another_length_is_refused() {
    for found in [0, 16, 31, 33, 64] {
        let master = vec![5; found];
        let key = officers()[EXCHANGE].holder.public();
        let enc_key = jwe::seal_to(key, "not used", &master, &SoftPrimitives).unwrap();
        let refusal = refused(|upload| upload["WrappedKey"]["enc_key"] = json!(enc_key));
        assert_eq!(refusal, UploadError::MasterLength { found });
    }
}

#[test]
fn altered_repeated_missing_and_unknown_parts_are_refused() {
    let short = refused(|upload| {
        let text = upload["EncData"]["data"][0]["compact_jwe"].as_str().unwrap().to_owned();
        let (rest, _) = text.rsplit_once('.').unwrap();
        upload["EncData"]["data"][0]["compact_jwe"] = json!(format!("{rest}.AAAA"));
    });
    let tag = "first".to_owned();
    let cause = JweError::TagLength { found: 3 };
    assert_eq!(short, UploadError::Item { tag: tag.clone(), cause });
    let renamed = refused(|upload| upload["EncData"]["data"][1]["tag"] = json!("third"));
    let cause = JweError::NotAuthentic;
    assert_eq!(renamed, UploadError::Item { tag: "third".to_owned(), cause });
    let twice = refused(|upload| {
        let data = upload["EncData"]["data"].as_array_mut().unwrap();
        data.push(data[0].clone());
    });
    assert_eq!(twice, UploadError::Repeated { tag });
    assert_eq!(refused(|upload| upload["EncData"]["kdf"] = json!("x")), UploadError::Kdf);
    assert_eq!(
        refused(|upload| upload["EncData"]["data"] = json!([])),
        UploadError::Items { found: 0 }
    );
    let many: Vec<Value> =
        (0..257).map(|at| json!({"tag": at.to_string(), "compact_jwe": ""})).collect();
    let many = refused(|upload| upload["EncData"]["data"] = json!(many));
    assert_eq!(many, UploadError::Items { found: 257 });
    for part in ["EncData", "WrappedKey"] {
        let gone = refused(|upload| drop(upload.as_object_mut().unwrap().remove(part)));
        assert!(matches!(gone, UploadError::Form { .. }));
    }
    let long = vec![b' '; BLOB_BYTES_MAX + 1];
    assert_eq!(Upload::parse(&long).map(drop), Err(UploadError::TooLong { found: long.len() }));
}

#[test]
fn a_downloaded_blob_is_no_upload() {
    let text = casemate_quorum::seal(
        &crate::kit::quorum(3, 2),
        &items(),
        crate::kit::facts(),
        &SoftPrimitives,
    );
    let refusal = Upload::parse(text.unwrap().as_bytes()).map(drop).unwrap_err();
    assert!(matches!(refusal, UploadError::Form { .. }));
}

#[test]
fn every_flipped_character_of_the_wrapped_key_is_refused() {
    let upload = wrapped();
    let text = upload["WrappedKey"]["enc_key"].as_str().unwrap();
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        let refusal = refused(|upload| upload["WrappedKey"]["enc_key"] = json!(changed));
        assert!(
            matches!(refusal, UploadError::WrappedKey(_) | UploadError::Item { .. }),
            "{at}: {refusal}"
        );
    }
    // The last key is wiped as any other: nothing of it is printed.
    assert_eq!(format!("{:?}", Hidden::copied(b"x")), "Hidden(…)");
}
