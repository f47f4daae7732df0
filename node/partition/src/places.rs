//! How many connections are served at once, altogether and for one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The places of one HSM.
pub(crate) struct Places {
    max: usize,
    per_address_max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    count: watch::Sender<usize>,
}

/// One connection's place; free again when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// All free.
    pub(crate) fn new(max: usize, per_address_max: usize) -> Arc<Self> {
        let taken = Mutex::default();
        Arc::new(Self { max, per_address_max, taken, count: watch::Sender::new(0) })
    }

    /// A place for a connection from this address, if there is one.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.taken.lock();
        if *self.count.borrow() >= self.max {
            return None;
        }
        let of_address = taken.entry(address).or_default();
        if *of_address >= self.per_address_max {
            return None;
        }
        *of_address += 1;
        self.count.send_modify(|count| *count += 1);
        Some(Place { places: Arc::clone(self), address })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until all are free.
    pub(crate) async fn all_free(&self) {
        let mut count = self.count.subscribe();
        // The sender is ours, so the wait cannot fail.
        let _free = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(of_address) = taken.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.remove(&self.address);
            }
        }
        self.places.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn places_are_bounded_altogether_and_per_address() {
        let places = Places::new(3, 2);
        let first = places.take(ONE).unwrap();
        let _second = places.take("::ffff:127.0.0.1".parse().unwrap()).unwrap();
        assert!(places.take(ONE).is_none(), "the same address in another form");
        let _third = places.take(OTHER).unwrap();
        assert!(places.take(OTHER).is_none(), "none left");
        drop(first);
        assert!(places.take(ONE).is_some());
    }

    #[tokio::test]
    async fn an_empty_house_is_noticed() {
        let places = Places::new(1, 1);
        places.all_free().await;
        let place = places.take(ONE).unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), places.all_free());
        assert!(waiting.await.is_err());
        drop(place);
        places.all_free().await;
        assert!(places.taken.lock().is_empty());
    }
}
