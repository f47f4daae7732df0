//! Lists: keys, versions, deleted keys, in pages. Each caller is shown what it may see.

use super::find::{key_of, live, newest};
use super::visible::Visible;
use super::{FindRefusal, KeyItem};
use crate::Hsm;
use crate::rbac::{DataAction, Permit, Within, act};
use crate::records::Life;
use crate::state::KeyEntry;

/// Which page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where the page before ended; the first page when absent.
    pub after: Option<String>,
    /// Most items, at least 1.
    pub items_max: usize,
}

/// A page.
#[derive(Debug)]
pub struct PageOf {
    /// The items.
    pub items: Vec<KeyItem>,
    /// Where it ended, when there is more.
    pub next: Option<String>,
}

impl Hsm {
    /// The keys in use that the caller may read, by name.
    pub fn keys(&self, permit: &Permit<Within<act::KeysRead>>, page: &Page) -> PageOf {
        self.page_of_keys(permit, page, |life| life == Life::Live)
    }

    /// The deleted keys that the caller may read, by name.
    pub fn deleted_keys(
        &self,
        permit: &Permit<Within<act::DeletedKeysRead>>,
        page: &Page,
    ) -> PageOf {
        self.page_of_keys(permit, page, |life| matches!(life, Life::Deleted { .. }))
    }

    /// The versions of the permit's key, oldest first.
    pub fn key_versions(
        &self,
        permit: &Permit<act::KeysRead>,
        page: &Page,
    ) -> Result<PageOf, FindRefusal> {
        let state = self.state.read();
        let key = live(&state, key_of(permit.scope()))?;
        let passed = page.after.as_ref().and_then(|after| {
            key.versions.iter().position(|version| &version.record.id.to_string() == after)
        });
        let start = passed.map_or(0, |index| index + 1);
        let mut items: Vec<KeyItem> = key
            .versions
            .iter()
            .skip(start)
            .take(page.items_max + 1)
            .map(|version| self.item(&key.record, &version.record, Some(version.record.id)))
            .collect();
        let more = items.len() > page.items_max;
        items.truncate(page.items_max);
        let last = items.last().and_then(|item| item.version);
        let next = last.filter(|_| more).map(|version| version.to_string());
        Ok(PageOf { items, next })
    }

    fn page_of_keys<A: DataAction>(
        &self,
        permit: &Permit<A>,
        page: &Page,
        shown: impl Fn(Life) -> bool,
    ) -> PageOf {
        let state = self.state.read();
        let visible = Visible::to(&state, permit.principal(), A::SET);
        let after = page.after.as_ref().map(|after| after.to_ascii_lowercase());
        let mut found =
            visible.after(&state.keys, after.as_deref()).filter(|(_, key)| shown(key.record.life));
        let item = |key: &KeyEntry| self.item(&key.record, &newest(key).record, None);
        let mut items = Vec::new();
        let mut last = None;
        for (name, key) in found.by_ref().take(page.items_max) {
            items.push(item(key));
            last = Some(name.clone());
        }
        let next = last.filter(|_| found.next().is_some());
        PageOf { items, next }
    }
}
