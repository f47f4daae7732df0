//! How many connections may wait at the gate: in all, and from one address.
//!
//! A slot is held from accept until the connection is handed over or, for the agent's own service,
//! until it ends. Given back by drop, so no path can forget it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bounds of the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotLimits {
    /// From one address.
    pub(crate) per_address_max: usize,
    /// From all together.
    pub(crate) total_max: usize,
}

/// The slots of one gate.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    limits: SlotLimits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One taken slot.
#[derive(Debug)]
pub(crate) struct Slot {
    address: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Slots {
    pub(crate) fn new(limits: SlotLimits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    /// A slot for this address, or `None` when it, or all, have as many as they may.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Slot> {
        let address = address.to_canonical();
        let mut taken = self.taken.lock();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        if own >= self.limits.per_address_max || taken.total >= self.limits.total_max {
            return None;
        }
        taken.by_address.insert(address, own + 1);
        taken.total += 1;
        Some(Slot { address, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.total = taken.total.saturating_sub(1);
        let left = taken.by_address.get(&self.address).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            taken.by_address.remove(&self.address);
        } else {
            taken.by_address.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn one_address_cannot_take_the_place_of_others() {
        let slots = Slots::new(SlotLimits { per_address_max: 2, total_max: 3 });
        let first = slots.take(address(1)).unwrap();
        let second = slots.take(address(1)).unwrap();
        assert!(slots.take(address(1)).is_none());
        let third = slots.take(address(2)).unwrap();
        assert!(slots.take(address(3)).is_none());
        drop(first);
        assert!(slots.take(address(3)).is_some());
        drop((second, third));
        assert!(slots.taken.lock().by_address.is_empty());
        assert_eq!(slots.taken.lock().total, 0);
    }

    #[test]
    fn an_address_written_as_ipv6_is_the_same_address() {
        let slots = Slots::new(SlotLimits { per_address_max: 1, total_max: 9 });
        let held = slots.take(address(1));
        assert!(held.is_some());
        assert!(slots.take("::ffff:127.0.0.1".parse().unwrap()).is_none());
    }
}
