//! What operators have ordered about a cluster: which members are gone for good, and when the loss of slots was last
//! accepted. Every node keeps all orders that it has heard of, and passes them on with its state, so that those who were
//! away learn of them, too. Orders merge by union, in any order and any number of times.

use serde::{Deserialize, Serialize};
use shard_cache_membership::identity::{BootId, NodeId};

use super::RingMember;

/// Most forgotten members that are remembered; beyond it the oldest are let go.
pub const FORGOTTEN_MAX: usize = 1024;
/// Longest encoded orders, in bytes: every integer at its longest.
pub const ORDERS_BYTES_MAX: usize = 32 + 32 * FORGOTTEN_MAX;

const CODEC: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<ORDERS_BYTES_MAX>,
> = bincode::config::standard().with_limit::<ORDERS_BYTES_MAX>();

/// All orders that a node has heard of.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Orders {
    /// Sorted by when they were forgotten, then by who.
    forgotten: Vec<Forgotten>,
    /// When the loss of slots was last accepted, in milliseconds since the Unix epoch; 0 for never.
    losses_accepted_millis: u64,
}

/// A life of a member that is gone for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Forgotten {
    at_millis: u64,
    node_id: NodeId,
    boot_id: BootId,
}

/// Bytes that are no orders.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrdersError {
    /// Longer than any orders can be.
    #[error("orders of {length} bytes, more than the {ORDERS_BYTES_MAX} allowed")]
    TooLong {
        /// Bytes given.
        length: usize,
    },
    /// Cut off, not an encoding of orders, or followed by more.
    #[error("malformed orders: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire {
    forgotten: Vec<Forgotten>,
    losses_accepted_millis: u64,
}

impl Orders {
    /// Whether nothing was ever ordered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.losses_accepted_millis == 0
    }

    /// Whether this life of the member is gone for good.
    #[must_use]
    pub fn is_forgotten(&self, member: RingMember) -> bool {
        self.forgotten().any(|forgotten| forgotten == member)
    }

    /// The lives of members that are gone for good.
    pub fn forgotten(&self) -> impl Iterator<Item = RingMember> {
        self.forgotten.iter().map(|forgotten| RingMember {
            node_id: forgotten.node_id,
            boot_id: forgotten.boot_id,
        })
    }

    /// When the loss of slots was last accepted, in milliseconds since the Unix epoch; 0 for never.
    #[must_use]
    pub const fn losses_accepted_millis(&self) -> u64 {
        self.losses_accepted_millis
    }

    /// Orders that this life of a member is gone for good.
    pub fn forget(&mut self, member: RingMember, now_millis: u64) {
        self.merge(&Self {
            forgotten: vec![Forgotten {
                at_millis: now_millis,
                node_id: member.node_id,
                boot_id: member.boot_id,
            }],
            losses_accepted_millis: 0,
        });
    }

    /// Orders that slots may be declared lost that are so now.
    pub fn accept_losses(&mut self, now_millis: u64) {
        // Also when clocks differ it is a new order.
        self.losses_accepted_millis = now_millis.max(self.losses_accepted_millis + 1);
    }

    /// Takes over what another node has heard of. Returns whether anything of it is new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for forgotten in &other.forgotten {
            let known = self.forgotten.iter_mut().find(|known| {
                (known.node_id, known.boot_id) == (forgotten.node_id, forgotten.boot_id)
            });
            match known {
                // The earlier order counts, whoever was asked first.
                Some(known) => known.at_millis = known.at_millis.min(forgotten.at_millis),
                None => self.forgotten.push(*forgotten),
            }
        }
        self.forgotten.sort_unstable();
        let excess = self.forgotten.len().saturating_sub(FORGOTTEN_MAX);
        self.forgotten.drain(..excess);
        self.losses_accepted_millis = self
            .losses_accepted_millis
            .max(other.losses_accepted_millis);
        *self != before
    }

    /// The form in which they travel; at most [`ORDERS_BYTES_MAX`] bytes, none for no orders.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let wire = Wire {
            forgotten: self.forgotten.clone(),
            losses_accepted_millis: self.losses_accepted_millis,
        };
        bincode::serde::encode_to_vec(wire, CODEC)
            .expect("integers and vectors of known length always encode")
    }

    /// Reads the travelling form.
    ///
    /// # Errors
    /// [`OrdersError`] for anything but exactly one well-formed encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, OrdersError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let malformed = |reason: String| OrdersError::Malformed { reason };
        if bytes.len() > ORDERS_BYTES_MAX {
            return Err(OrdersError::TooLong {
                length: bytes.len(),
            });
        }
        let (wire, read): (Wire, usize) = bincode::serde::decode_from_slice(bytes, CODEC)
            .map_err(|error| malformed(error.to_string()))?;
        if read < bytes.len() {
            return Err(malformed(format!("{} bytes behind", bytes.len() - read)));
        }
        let told = Self {
            forgotten: wire.forgotten,
            losses_accepted_millis: wire.losses_accepted_millis,
        };
        // Through the merge, so that order and bound hold whatever was sent.
        let mut orders = Self::default();
        orders.merge(&told);
        Ok(orders)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(node: u64, boot: u64) -> RingMember {
        RingMember {
            node_id: NodeId(node),
            boot_id: BootId(boot),
        }
    }

    fn any_orders() -> impl Strategy<Value = Orders> {
        let forgotten = prop::collection::vec((0..6u64, 0..3u64, 0..50u64), 0..8);
        (forgotten, 0..5u64).prop_map(|(forgotten, accepted)| {
            let mut orders = Orders {
                losses_accepted_millis: accepted,
                ..Orders::default()
            };
            for (node, boot, at) in forgotten {
                orders.forget(member(node, boot), at);
            }
            orders
        })
    }

    proptest! {
        #[test]
        fn orders_merge_in_any_order_and_any_number_of_times(
            first in any_orders(),
            second in any_orders(),
            third in any_orders(),
        ) {
            let merged = |all: &[&Orders]| {
                let mut orders = Orders::default();
                for other in all {
                    orders.merge(other);
                }
                orders
            };
            let expected = merged(&[&first, &second, &third]);
            prop_assert_eq!(&merged(&[&third, &second, &first, &second]), &expected);
            let mut again = expected.clone();
            prop_assert!(!again.merge(&first));
        }

        #[test]
        fn orders_survive_the_journey(orders in any_orders()) {
            prop_assert_eq!(Orders::decode(&orders.encode()).unwrap(), orders);
        }

        #[test]
        fn junk_is_refused_without_a_panic(junk in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(orders) = Orders::decode(&junk) {
                prop_assert!(orders.forgotten.len() <= junk.len());
            }
        }
    }

    #[test]
    fn only_the_life_that_was_forgotten_is() {
        let mut orders = Orders::default();
        orders.forget(member(1, 7), 100);
        assert!(orders.is_forgotten(member(1, 7)));
        assert!(!orders.is_forgotten(member(1, 8)), "it came back empty");
    }

    #[test]
    fn the_oldest_are_let_go_beyond_the_bound() {
        let mut orders = Orders::default();
        for node in 0..=FORGOTTEN_MAX as u64 {
            orders.forget(member(node, 1), node);
        }
        assert_eq!(orders.forgotten().count(), FORGOTTEN_MAX);
        assert!(!orders.is_forgotten(member(0, 1)));
        assert!(orders.encode().len() <= ORDERS_BYTES_MAX);
    }

    #[test]
    fn accepting_losses_again_is_another_order_whatever_the_clock_says() {
        let mut orders = Orders::default();
        orders.accept_losses(50);
        orders.accept_losses(40);
        assert_eq!(orders.losses_accepted_millis(), 51);
    }
}
