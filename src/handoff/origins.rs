//! Which sampled requests hints come from, so that the span of their delivery can link to them.

use std::collections::{HashMap, VecDeque};

use shard_cache_membership::identity::NodeId;

use crate::{
    key::Key,
    sync::{Mutex, lock},
    trace::TraceParent,
};

/// Hints whose origin is remembered; of more than that the oldest are forgotten, and the spans of their delivery lack a link.
const ORIGINS_MAX: usize = 1024;
/// Links of one span.
const LINKS_MAX: usize = 32;

/// The spans of sampled writes that left a hint.
#[derive(Debug, Default)]
pub struct HintOrigins(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    // Only looked up, never iterated.
    origins: HashMap<(NodeId, u64), TraceParent>,
    order: VecDeque<(NodeId, u64)>,
}

impl HintOrigins {
    /// A sampled write left a hint of this key for a target.
    pub fn note(&self, target: NodeId, key: &Key, origin: TraceParent) {
        let mut book = lock(&self.0);
        let place = (target, key.hash());
        if book.origins.insert(place, origin).is_none() {
            book.order.push_back(place);
        }
        // Some of them may have been taken out before.
        while book.order.len() > ORIGINS_MAX {
            if let Some(oldest) = book.order.pop_front() {
                book.origins.remove(&oldest);
            }
        }
    }

    /// Where hints of these keys come from, as far as that is remembered, and not too many of them; they are forgotten.
    pub fn take<'a>(
        &self,
        target: NodeId,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> Vec<TraceParent> {
        let mut book = lock(&self.0);
        if book.origins.is_empty() {
            book.order.clear();
            return Vec::new();
        }
        let keys = keys.into_iter();
        let taken = keys.filter_map(|key| book.origins.remove(&(target, key.hash())));
        let mut origins: Vec<TraceParent> = taken.collect();
        origins.truncate(LINKS_MAX);
        origins
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const TARGET: NodeId = NodeId(7);

    fn key(number: usize) -> Key {
        Key::new(Bytes::from(number.to_string()))
    }

    fn origin(span_id: u64) -> TraceParent {
        TraceParent {
            trace_id: 1,
            span_id,
            sampled: true,
            state: None,
        }
    }

    #[test]
    fn an_origin_is_found_once_and_for_its_target_only() {
        let origins = HintOrigins::default();
        origins.note(TARGET, &key(1), origin(5));
        assert_eq!(origins.take(NodeId(8), [&key(1)]), []);
        assert_eq!(origins.take(TARGET, [&key(0), &key(1)]), [origin(5)]);
        assert_eq!(origins.take(TARGET, [&key(1)]), []);
    }

    #[test]
    fn the_oldest_are_forgotten_and_links_are_bounded() {
        let origins = HintOrigins::default();
        let keys: Vec<Key> = (0..ORIGINS_MAX + 10).map(key).collect();
        for (number, key) in keys.iter().enumerate() {
            origins.note(TARGET, key, origin(number as u64 + 1));
        }
        assert_eq!(origins.take(TARGET, [&keys[9]]), []);
        assert_eq!(origins.take(TARGET, [&keys[10]]), [origin(11)]);
        assert_eq!(origins.take(TARGET, &keys).len(), LINKS_MAX);
        assert!(lock(&origins.0).order.len() <= ORIGINS_MAX);
    }
}
