//! What somebody knows of sockets: a table, because it is asked at every packet and a thousand sockets are not near each
//! other in a tree.

use super::{SockId, sockets::slot_of};

/// A map by socket. A place is used again when its socket is gone, as the kernel's own.
#[derive(Debug)]
pub(crate) struct BySock<T> {
    places: Vec<Option<(SockId, T)>>,
}

impl<T> Default for BySock<T> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<T> BySock<T> {
    /// Keeps `value` for `sock`. What was known of a socket that is gone, and had its place, is forgotten.
    pub(crate) fn insert(&mut self, sock: SockId, value: T) {
        let place = place_of(sock);
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.places[place] = Some((sock, value));
    }

    /// Returns what is known of `sock`.
    pub(crate) fn get(&self, sock: SockId) -> Option<&T> {
        let (of, value) = self.places.get(place_of(sock))?.as_ref()?;
        (*of == sock).then_some(value)
    }

    /// Forgets `sock`.
    pub(crate) fn remove(&mut self, sock: SockId) {
        if let Some(place) = self.places.get_mut(place_of(sock)) {
            place.take_if(|(of, _)| *of == sock);
        }
    }

    /// Forgets all of which `keeps` is false.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&T) -> bool) {
        for place in &mut self.places {
            place.take_if(|(_, value)| !keeps(value));
        }
    }

    /// Returns the sockets, the oldest first.
    pub(crate) fn into_socks(self) -> Vec<SockId> {
        let mut socks: Vec<SockId> = self.places.into_iter().flatten().map(|(sock, _)| sock).collect();
        socks.sort_unstable();
        socks
    }
}

fn place_of(sock: SockId) -> usize {
    slot_of(sock) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `serial`th socket, in `slot`.
    fn sock(serial: u64, slot: u64) -> SockId {
        SockId(serial << 20 | slot)
    }

    #[test]
    fn a_place_that_is_used_again_is_not_taken_for_who_had_it() {
        let mut known = BySock::default();
        known.insert(sock(1, 3), 'a');
        known.insert(sock(2, 0), 'b');
        known.insert(sock(4, 3), 'c');
        assert_eq!(
            [sock(1, 3), sock(2, 0), sock(4, 3)].map(|sock| known.get(sock)),
            [None, Some(&'b'), Some(&'c')]
        );
        known.remove(sock(1, 3));
        assert_eq!(known.get(sock(4, 3)), Some(&'c'));
        known.insert(sock(3, 7), 'b');
        known.retain(|value| *value != 'c');
        assert_eq!(known.into_socks(), [sock(2, 0), sock(3, 7)]);
    }
}
