//! Blobs: sealed to a quorum, opened by it, and by nobody else.

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{BLOB_BYTES_MAX, Blob, BlobError, CombineError, OpenError, seal};
use serde_json::{Value, json};

use crate::kit::{contents, facts, items, keys, officers, quorum};

fn sealed(holders: usize, required: u64) -> Value {
    let text = seal(&quorum(holders, required), &items(), facts(), &SoftPrimitives).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn parse(blob: &Value) -> Result<Blob, BlobError> {
    Blob::parse(blob.to_string().as_bytes())
}

fn open(blob: &Value, chosen: &[usize]) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
    let opened = parse(blob).unwrap().open(&keys(chosen), &SoftPrimitives)?;
    Ok(contents(&opened.items))
}

#[test]
fn any_quorum_opens_in_any_order() {
    let expected = contents(&items());
    let blob = sealed(3, 2);
    for chosen in [[0, 1], [1, 0], [0, 2], [2, 1]] {
        assert_eq!(open(&blob, &chosen).unwrap(), expected, "{chosen:?}");
    }
    assert_eq!(open(&blob, &[2, 0, 1]).unwrap(), expected, "more than needed");
    let all: Vec<usize> = (0..10).rev().collect();
    assert_eq!(open(&sealed(10, 10), &all).unwrap(), expected);
}

#[test]
fn the_shape_is_the_one_that_clients_read() {
    let blob = sealed(3, 2);
    assert_eq!(blob["SharedKeys"]["required"], 2, "a number");
    assert_eq!(blob["SharedKeys"]["key_algorithm"], "shamir_share");
    assert_eq!(blob["EncData"]["kdf"], "sp108_kdf");
    let shares = blob["SharedKeys"]["enc_shares"].as_array().unwrap();
    assert_eq!(shares.len(), 3);
    for (share, officer) in shares.iter().zip(officers()) {
        assert_eq!(share["x5t_256"], officer.holder.thumbprint());
        assert_eq!(share["enc_key"].as_str().unwrap().split('.').count(), 5);
    }
    let tags: Vec<&str> = blob["EncData"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|datum| datum["tag"].as_str().unwrap())
        .collect();
    assert_eq!(tags, ["first", "second/2", "empty"]);
    let read = parse(&blob).unwrap();
    assert_eq!(read.tags().collect::<Vec<_>>(), tags);
    assert_eq!((read.required(), read.facts()), (2, Some(&facts())));
    assert_eq!(read.holders().count(), 3);
}

#[test]
fn too_few_foreign_repeated_and_mixed_keys_are_named() {
    let blob = sealed(3, 2);
    assert_eq!(open(&blob, &[0]).unwrap_err(), OpenError::TooFew { found: 1, required: 2 });
    assert_eq!(open(&blob, &[]).unwrap_err(), OpenError::TooFew { found: 0, required: 2 });
    let thumbprint = officers()[5].holder.thumbprint().to_owned();
    assert_eq!(open(&blob, &[0, 5]).unwrap_err(), OpenError::Foreign { thumbprint });
    assert_eq!(open(&blob, &[1, 1]).unwrap_err(), OpenError::Combine(CombineError::SamePlace));
    // The key of another officer, given for this certificate.
    let swapped = [
        (officers()[0].holder.thumbprint(), &*officers()[1].key),
        (officers()[1].holder.thumbprint(), &*officers()[1].key),
    ];
    let refused = parse(&blob).unwrap().open(&swapped, &SoftPrimitives).unwrap_err();
    assert!(matches!(refused, OpenError::Share { .. }), "{refused}");
}

#[test]
fn shares_of_another_download_open_nothing() {
    let (mut blob, other) = (sealed(3, 2), sealed(3, 2));
    blob["SharedKeys"]["enc_shares"][1] = other["SharedKeys"]["enc_shares"][1].clone();
    let refused = open(&blob, &[0, 1]).unwrap_err();
    assert!(matches!(refused, OpenError::Mixed(_) | OpenError::Combine(_)), "{refused}");
    assert!(open(&blob, &[0, 2]).is_ok(), "those who belong together still open it");
    // Two officers' shares exchanged: each opens, and both are of the wrong place.
    let shares = &mut blob["SharedKeys"]["enc_shares"];
    let (first, third) = (shares[0]["enc_key"].clone(), shares[2]["enc_key"].clone());
    (shares[0]["enc_key"], shares[2]["enc_key"]) = (third, first);
    assert!(matches!(open(&blob, &[0, 2]).unwrap_err(), OpenError::Share { .. }));
}

#[test]
fn an_item_that_was_altered_renamed_or_moved_does_not_open() {
    let blob = sealed(3, 2);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut blob = blob.clone();
        change(&mut blob["EncData"]["data"]);
        open(&blob, &[0, 1]).unwrap_err()
    };
    let renamed = refused(&|data| data[0]["tag"] = json!("fürst"));
    assert!(matches!(renamed, OpenError::Mixed(_)), "{renamed}");
    let swapped = refused(&|data| {
        let (a, b) = (data[0]["compact_jwe"].clone(), data[1]["compact_jwe"].clone());
        (data[0]["compact_jwe"], data[1]["compact_jwe"]) = (b, a);
    });
    assert!(matches!(swapped, OpenError::Mixed(_)), "{swapped}");
    let cut = refused(&|data| data[2]["compact_jwe"] = json!("a.b.c"));
    assert!(matches!(cut, OpenError::Mixed(_)), "{cut}");
}

#[test]
fn what_is_no_blob_is_refused() {
    let blob = sealed(3, 2);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut blob = blob.clone();
        change(&mut blob);
        parse(&blob).map(drop).unwrap_err()
    };
    let numbers = |change: &dyn Fn(&mut Value)| refused(&|blob| change(&mut blob["SharedKeys"]));
    for required in [0, 1, 4, 11, u64::MAX] {
        let refusal = numbers(&|keys| keys["required"] = json!(required));
        assert_eq!(refusal, BlobError::Numbers { holders: 3, required });
    }
    let few = numbers(&|keys| drop(keys["enc_shares"].as_array_mut().unwrap().pop()));
    assert_eq!(few, BlobError::Numbers { holders: 2, required: 2 });
    assert_eq!(numbers(&|keys| keys["key_algorithm"] = json!("xor")), BlobError::Algorithm);
    assert_eq!(refused(&|blob| blob["EncData"]["kdf"] = json!("hkdf")), BlobError::Algorithm);
    let twice = |blob: &mut Value| {
        let data = blob["EncData"]["data"].as_array_mut().unwrap();
        data.push(data[0].clone());
    };
    assert_eq!(refused(&twice), BlobError::Items);
    assert_eq!(refused(&|blob| blob["EncData"]["data"] = json!([])), BlobError::Items);
    for change in ["EncData", "SharedKeys"] {
        let gone = refused(&|blob| drop(blob.as_object_mut().unwrap().remove(change)));
        assert!(matches!(gone, BlobError::Form { .. }));
    }
    let text = numbers(&|keys| keys["required"] = json!("2"));
    assert!(matches!(text, BlobError::Form { .. }), "a number is no text");
    let long = vec![b' '; BLOB_BYTES_MAX + 1];
    assert_eq!(Blob::parse(&long).map(drop), Err(BlobError::TooLong { found: long.len() }));
    for text in ["", "null", "{}", "[[[[", "\u{feff}{}"] {
        assert!(Blob::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn no_two_downloads_are_alike() {
    let (one, two) = (sealed(3, 2), sealed(3, 2));
    for at in 0..3 {
        for (list, member) in [("enc_shares", "enc_key"), ("data", "compact_jwe")] {
            let part = if list == "data" { "EncData" } else { "SharedKeys" };
            assert_ne!(one[part][list][at][member], two[part][list][at][member]);
        }
    }
}
