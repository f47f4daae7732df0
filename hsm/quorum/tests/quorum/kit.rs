//! Officers with keys and certificates of their own.

use std::sync::LazyLock;

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{Facts, Hidden, Holder, Item, Primitives, PrivateKey, Quorum};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

/// How many officers there are to choose from.
pub(crate) const OFFICERS: usize = 11;

/// An officer: a key, and the certificate that holds the share.
pub(crate) struct Officer {
    pub(crate) pair: KeyPair,
    pub(crate) holder: Holder,
    pub(crate) key: Box<dyn PrivateKey>,
}

/// Made once for all tests: RSA keys take their time.
static ALL: LazyLock<Vec<Officer>> =
    LazyLock::new(|| (0..OFFICERS).map(|at| officer(&format!("officer {at}"))).collect());

pub(crate) fn officers() -> &'static [Officer] {
    &ALL
}

pub(crate) fn certificate(pair: &KeyPair, name: &str) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(pair).unwrap().der().to_vec()
}

fn officer(name: &str) -> Officer {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let holder = Holder::from_der(&certificate(&pair, name), &SoftPrimitives).unwrap();
    let pkcs8 = Hidden::new(pair.serialize_der());
    let key = SoftPrimitives.rsa_private_key(&pkcs8).unwrap();
    Officer { pair, holder, key }
}

/// The first so many officers, of whom so many are needed.
pub(crate) fn quorum(holders: usize, required: u64) -> Quorum {
    let holders = officers()[..holders].iter().map(|officer| officer.holder.clone()).collect();
    Quorum::new(holders, Some(required)).unwrap()
}

pub(crate) fn items() -> Vec<Item> {
    let item = |tag: &str, bytes: &[u8]| Item { tag: tag.to_owned(), bytes: Hidden::copied(bytes) };
    vec![item("first", &[0, 0xff, 7]), item("second/2", &[9; 100]), item("empty", &[])]
}

pub(crate) fn facts() -> Facts {
    Facts { domain: "00".repeat(16), epoch: 1, download: 1, made: 1_800_000_000 }
}

/// Keys of these officers, as a blob is opened with them.
pub(crate) fn keys(chosen: &[usize]) -> Vec<(&'static str, &'static dyn PrivateKey)> {
    let one = |at: &usize| {
        let officer = &officers()[*at];
        (officer.holder.thumbprint(), &*officer.key)
    };
    chosen.iter().map(one).collect()
}

/// What stands in items, to compare.
pub(crate) fn contents(items: &[Item]) -> Vec<(String, Vec<u8>)> {
    items.iter().map(|item| (item.tag.clone(), item.bytes.expose().to_vec())).collect()
}
