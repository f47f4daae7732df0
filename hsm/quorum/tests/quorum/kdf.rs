//! Derived keys, against the values of Azure's own client.

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{Hidden, derive, item_key};

fn hex(bytes: &Hidden) -> String {
    bytes.expose().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn derived_keys_are_those_that_azures_client_derives() {
    let master = Hidden::new((0..32).collect());
    assert_eq!(
        hex(&item_key(&master, "tag", &SoftPrimitives)),
        "5e0d166048d31b68d3276f4bb1d753b57bb41a712686269bd426259f31a9951b\
         e17d2feff49dbfa962ff20acdc1de01a4acb2ad391cb63c443d0f213a624017b"
    );
    let master = Hidden::new(vec![0x41; 32]);
    assert_eq!(
        hex(&derive(&master, "label", "context", 32, &SoftPrimitives)),
        "f0ca51f6308791404bf68b56024ee7c64d6c737716f81d47e1e68b5c4e399575"
    );
}

#[test]
fn another_master_tag_or_length_gives_another_key() {
    let key = |byte, tag| item_key(&Hidden::new(vec![byte; 32]), tag, &SoftPrimitives);
    assert_ne!(key(1, "a"), key(2, "a"));
    assert_ne!(key(1, "a"), key(1, "b"));
    let short = derive(&Hidden::new(vec![1; 32]), "a", "", 32, &SoftPrimitives);
    assert_ne!(short.expose(), &key(1, "a").expose()[..32], "the length is part of it");
}
