//! Other systems, so that they can be measured by the same load and the same clock: etcd over gRPC, redis and memcached
//! over their own protocols.

mod etcd;
mod line;
mod memcached;
mod redis;

pub(crate) use etcd::Etcd;
pub(crate) use memcached::Memcached;
pub(crate) use redis::Redis;
