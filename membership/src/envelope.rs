//! The frame around every gossip payload: magic, envelope version, cluster.
//!
//! It costs 13 bytes and keeps out what was never meant for this cluster before any decoder sees
//! it. It is no proof of origin: whoever knows the cluster id can write it.

use xxhash_rust::xxh3::xxh3_64;

use crate::config::PAYLOAD_BYTES_MAX;

/// Bytes before the payload.
pub const ENVELOPE_BYTES: usize = MAGIC.len() + 1 + size_of::<u64>();
/// Largest datagram that is sent or accepted, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = ENVELOPE_BYTES + PAYLOAD_BYTES_MAX;

const MAGIC: [u8; 4] = *b"shcg";
const ENVELOPE_VERSION: u8 = 1;

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
    let (hash, payload) = rest.split_first_chunk::<8>().ok_or(EnvelopeError::Junk)?;
    if u64::from_be_bytes(*hash) != cluster.0 {
        return Err(EnvelopeError::ForeignCluster);
    }
    if payload.is_empty() {
        return Err(EnvelopeError::Junk);
    }
    Ok(payload)
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
        let mut newer = datagram;
        newer[MAGIC.len()] = ENVELOPE_VERSION + 1;
        assert_eq!(unwrap(ours, &newer), Err(EnvelopeError::UnknownVersion));
        let large = wrap(ours, &[0; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(unwrap(ours, &large), Err(EnvelopeError::Oversize));
    }
}
