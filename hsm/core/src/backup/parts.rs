//! The parts of a full backup: items one after the other, in objects of about a mebibyte.
//!
//! An item is a length (4 bytes, big endian) and that many bytes of CBOR. None is split.

use serde::{Deserialize, Serialize};

use super::content::KeyContent;
use crate::rbac::{Assignment, Definition};
use crate::records;

/// Bytes from which on a part is full.
const PART_BYTES: usize = 1024 * 1024;

/// Longest item, in bytes.
const ITEM_BYTES_MAX: usize = 40 * 1024 * 1024;

/// Something that a full backup carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Item {
    Definition(Definition),
    Assignment(Assignment),
    Key(Box<KeyContent>),
    /// Of an increment: keys that there are, whichever set holds them.
    Roll(Vec<Rolled>),
}

/// A key that there is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rolled {
    /// Its name, in lower case.
    pub(super) name: String,
    /// The last change of anything of it.
    pub(super) last: u64,
    /// How many versions it has.
    pub(super) versions: u64,
}

/// Items that are being put into one part.
#[derive(Default)]
pub(super) struct PartWriter {
    bytes: Vec<u8>,
    first_key: Option<String>,
}

/// A part, ready to be sealed.
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    /// The first key in it, in lower case; `None` if it holds none.
    pub(super) first_key: Option<String>,
}

/// An item longer than any can be.
#[derive(Debug)]
pub(super) struct ItemTooLong;

impl PartWriter {
    /// Adds an item, and gives the part back if it is full.
    pub(super) fn add(&mut self, item: &Item) -> Result<Option<Part>, ItemTooLong> {
        let encoded = records::encode(item);
        let length = u32::try_from(encoded.len()).map_err(|_| ItemTooLong)?;
        if encoded.len() > ITEM_BYTES_MAX {
            return Err(ItemTooLong);
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(&encoded);
        if let (Item::Key(content), None) = (item, &self.first_key) {
            self.first_key = Some(content.key.name.folded().to_owned());
        }
        Ok((self.bytes.len() >= PART_BYTES).then(|| self.take()))
    }

    /// What is left; `None` if there is nothing.
    pub(super) fn rest(mut self) -> Option<Part> {
        (!self.bytes.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Part {
        let Self { bytes, first_key } = std::mem::take(self);
        Part { bytes, first_key }
    }
}

/// The items of a part, in order. `None` stands for bytes that are no item; nothing follows it.
pub(super) fn items(part: &[u8]) -> impl Iterator<Item = Option<Item>> {
    let mut rest = Some(part);
    std::iter::from_fn(move || {
        let bytes = rest.take().filter(|bytes| !bytes.is_empty())?;
        let item = bytes.split_first_chunk::<4>().and_then(|(length, bytes)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (encoded, after) = bytes.split_at_checked(length)?;
            rest = Some(after);
            records::decode::<Item>(encoded)
        });
        if item.is_none() {
            rest = None;
        }
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixSeconds;
    use crate::rbac::Scope;
    use uuid::Uuid;

    fn assignment(number: u128) -> Item {
        Item::Assignment(Assignment {
            name: Uuid::from_u128(number),
            scope: Scope::Root,
            role: Uuid::nil(),
            principal: Uuid::nil(),
            created: UnixSeconds(0),
        })
    }

    #[test]
    fn items_come_back_in_order_and_a_cut_shows() {
        let mut writer = PartWriter::default();
        for number in 0..3 {
            assert!(writer.add(&assignment(number)).unwrap().is_none());
        }
        let part = writer.rest().unwrap();
        let found = items(&part.bytes).map(Option::unwrap).count();
        assert_eq!((found, part.first_key), (3, None));
        for cut in 1..part.bytes.len() {
            let cut = &part.bytes[..cut];
            let whole = items(cut).all(|item| item.is_some());
            let ends = cut.len() % (part.bytes.len() / 3) == 0;
            assert_eq!(whole, ends, "{}", cut.len());
        }
    }

    #[test]
    fn a_part_that_is_full_is_given_back() {
        let mut writer = PartWriter::default();
        let mut full = 0;
        for number in 0..20_000 {
            full += usize::from(writer.add(&assignment(number)).unwrap().is_some());
        }
        assert!((1..10).contains(&full), "{full}");
    }
}
