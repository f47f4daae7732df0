//! The HSMs of this node: which server name leads to which, and what is shown of each.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::facts::SharedFacts;
use crate::hsm::HsmLink;

/// One HSM, as far as the gate and the management listener know it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Its server names, lower case.
    pub(crate) hosts: Vec<String>,
    /// The way to its partition.
    pub(crate) link: Arc<HsmLink>,
    /// What is shown of it.
    pub(crate) facts: Arc<SharedFacts>,
}

/// All of them. HSMs come and go while connections are taken.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    known: RwLock<Vec<Known>>,
    by_host: RwLock<HashMap<String, Arc<HsmLink>>>,
}

impl Directory {
    /// From now on its names lead to it.
    pub(crate) fn add(&self, known: Known) {
        let mut by_host = self.by_host.write();
        for host in &known.hosts {
            by_host.insert(host.clone(), Arc::clone(&known.link));
        }
        self.known.write().push(known);
    }

    /// From now on nothing leads there.
    pub(crate) fn remove(&self, link: &Arc<HsmLink>) {
        self.by_host.write().retain(|_, other| !Arc::ptr_eq(other, link));
        self.known.write().retain(|known| !Arc::ptr_eq(&known.link, link));
    }

    /// The HSM of this server name.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<HsmLink>> {
        self.by_host.read().get(host).cloned()
    }

    /// All HSMs, in the order in which they came.
    pub(crate) fn all(&self) -> Vec<Known> {
        self.known.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn known(hosts: &[&str]) -> Known {
        Known {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            link: Arc::new(HsmLink::new(Duration::from_secs(1))),
            facts: Arc::default(),
        }
    }

    #[test]
    fn names_lead_to_their_hsm_until_it_goes() {
        let directory = Directory::default();
        let (one, two) = (known(&["a.example", "b.example"]), known(&["c.example"]));
        directory.add(one.clone());
        directory.add(two.clone());
        let found = |host| directory.find(host).is_some_and(|link| Arc::ptr_eq(&link, &one.link));
        assert!(found("a.example") && found("b.example") && !found("c.example"));
        assert!(directory.find("A.example").is_none() && directory.find("").is_none());
        directory.remove(&one.link);
        assert!(directory.find("a.example").is_none() && directory.find("c.example").is_some());
        assert_eq!(directory.all().len(), 1);
        directory.remove(&one.link);
        assert_eq!(directory.all().len(), 1);
    }
}
