//! Who holds the domain, for whoever may look at the HSM.

use std::sync::Arc;

use casemate_quorum::{Holder, Primitives};
use uuid::Uuid;

use super::HeldRecord;
use super::held::Done;
use crate::{Hsm, UnixSeconds};

/// Who holds the domain that this HSM is active under.
#[derive(Clone, Debug)]
pub struct HeldBy(Arc<HeldRecord>);

impl HeldBy {
    /// How many of them are needed.
    pub fn required(&self) -> u8 {
        self.0.required
    }

    /// Their certificates; one that is none, which is never stored, is left out.
    pub fn holders(&self, primitives: &dyn Primitives) -> Vec<Holder> {
        let all = self.0.holders.iter();
        all.filter_map(|der| Holder::from_der(der, primitives).ok()).collect()
    }

    /// The number of the last download.
    pub fn download(&self) -> u64 {
        self.0.download
    }

    /// Whether the next download is theirs to approve, whatever the mode is by then.
    pub fn is_strict(&self) -> bool {
        self.0.strict
    }

    /// When and by whom it was last given out here.
    pub fn downloaded(&self) -> Option<(UnixSeconds, Uuid)> {
        self.0.downloaded.map(Done::when_and_by_whom)
    }

    /// When and by whom it was brought here.
    pub fn uploaded(&self) -> Option<(UnixSeconds, Uuid)> {
        self.0.uploaded.map(Done::when_and_by_whom)
    }
}

impl Done {
    fn when_and_by_whom(self) -> (UnixSeconds, Uuid) {
        (self.at, self.by)
    }
}

impl Hsm {
    /// Who holds the domain; none before activation.
    pub fn held_by(&self) -> Option<HeldBy> {
        let held = self.state.read().security_domain.held.clone();
        held.map(|(held, _)| HeldBy(held))
    }

    /// Whether a recovery has begun that is not at its end.
    pub(crate) fn has_exchange_key(&self) -> bool {
        self.state.read().security_domain.exchange.is_some()
    }
}
