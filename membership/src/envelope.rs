//! The frame around every gossip payload: magic, envelope version, cluster, checksum.
//!
//! It costs 17 bytes and keeps out what was never meant for this cluster, or was damaged on its
//! way, before any decoder sees it: one changed byte can make a member out of nothing, which gossip
//! would spread. It is no proof of origin: whoever knows the cluster id can write it.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::config::PAYLOAD_BYTES_MAX;

/// Bytes before the payload.
pub const ENVELOPE_BYTES: usize = MAGIC.len() + 1 + size_of::<u64>() + CHECKSUM_BYTES;
/// Largest datagram that is sent or accepted, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = ENVELOPE_BYTES + PAYLOAD_BYTES_MAX;

const MAGIC: [u8; 4] = *b"shcg";
const ENVELOPE_VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = size_of::<u32>();

/// The cluster as the wire names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClusterHash(pub(crate) u64);

/// Why a datagram is not for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EnvelopeError {
    Oversize,
    Junk,
    UnknownVersion,
    ForeignCluster,
}

impl ClusterHash {
    pub(crate) fn of_id(cluster_id: &str) -> Self {
        Self(xxh3_64(cluster_id.as_bytes()))
    }
}

/// The datagram that carries `payload`.
pub(crate) fn wrap(cluster: ClusterHash, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(ENVELOPE_BYTES + payload.len());
    datagram.extend_from_slice(&MAGIC);
    datagram.push(ENVELOPE_VERSION);
    datagram.extend_from_slice(&cluster.0.to_be_bytes());
    datagram.extend_from_slice(&checksum(cluster, payload));
    datagram.extend_from_slice(payload);
    datagram
}

/// The payload of a datagram of this cluster.
pub(crate) fn unwrap(cluster: ClusterHash, datagram: &[u8]) -> Result<&[u8], EnvelopeError> {
    if datagram.len() > DATAGRAM_BYTES_MAX {
        return Err(EnvelopeError::Oversize);
    }
    let rest = datagram.strip_prefix(&MAGIC).ok_or(EnvelopeError::Junk)?;
    let (&version, rest) = rest.split_first().ok_or(EnvelopeError::Junk)?;
    if version != ENVELOPE_VERSION {
        return Err(EnvelopeError::UnknownVersion);
    }
    let (hash, rest) = rest.split_first_chunk::<8>().ok_or(EnvelopeError::Junk)?;
    if u64::from_be_bytes(*hash) != cluster.0 {
        return Err(EnvelopeError::ForeignCluster);
    }
    let (sum, payload) = rest
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or(EnvelopeError::Junk)?;
    if payload.is_empty() || *sum != checksum(cluster, payload) {
        return Err(EnvelopeError::Junk);
    }
    Ok(payload)
}

/// The lower half of the payload's xxh3 hash, seeded with the cluster's.
fn checksum(cluster: ClusterHash, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [.., a, b, c, d] = xxh3_64_with_seed(payload, cluster.0).to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_stranger_is_told_apart() {
        let ours = ClusterHash::of_id("ours");
        let datagram = wrap(ours, b"payload");
        assert_eq!(unwrap(ours, &datagram), Ok(b"payload".as_slice()));
        let theirs = ClusterHash::of_id("theirs");
        assert_eq!(
            unwrap(theirs, &datagram),
            Err(EnvelopeError::ForeignCluster)
        );
        for length in 0..=ENVELOPE_BYTES {
            assert_eq!(unwrap(ours, &datagram[..length]), Err(EnvelopeError::Junk));
        }
        for at in ENVELOPE_BYTES - CHECKSUM_BYTES..datagram.len() {
            let mut damaged = datagram.clone();
            damaged[at] ^= 1;
            assert_eq!(
                unwrap(ours, &damaged),
                Err(EnvelopeError::Junk),
                "byte {at}"
            );
        }
        let mut newer = datagram;
        newer[MAGIC.len()] = ENVELOPE_VERSION + 1;
        assert_eq!(unwrap(ours, &newer), Err(EnvelopeError::UnknownVersion));
        let large = wrap(ours, &[0; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(unwrap(ours, &large), Err(EnvelopeError::Oversize));
    }
}
