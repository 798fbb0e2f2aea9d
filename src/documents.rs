//! What `shardcache.v1.Cluster` answers as JSON: on the command line and at `/api/v1/overview`.

use serde_json::{Value, json};
use shard_cache_proto::cluster::{Member, NodeReport, StatusResponse};

/// The whole status.
#[must_use]
pub(crate) fn status_document(status: &StatusResponse) -> Value {
    let nodes: Vec<_> = status
        .nodes
        .iter()
        .map(|node| {
            json!({
                "member": node.member.as_ref().map(member_document),
                "report": node.report.as_ref().map(report_document),
                "error": if node.error.is_empty() { Value::Null } else { node.error.as_str().into() },
            })
        })
        .collect();
    let views: Vec<_> = status
        .views
        .iter()
        .map(|view| {
            json!({
                "hash": view.hash,
                "seen_by": view.seen_by,
                "alive": view.alive,
                "not_alive": view.not_alive,
            })
        })
        .collect();
    json!({
        "cluster_id": status.cluster_id,
        "asked": status.asked,
        "rings_agree": status.rings_agree,
        "views_agree": status.views_agree,
        "views": views,
        "replication_factor": status.replication_factor,
        "read_quorum": status.read_quorum,
        "write_quorum": status.write_quorum,
        "nodes": nodes,
    })
}

/// What a node says of itself.
fn report_document(report: &NodeReport) -> Value {
    let hot_keys: Vec<_> = report
        .hot_keys
        .iter()
        .map(|hot| {
            json!({
                "key": (!hot.key.is_empty()).then(|| String::from_utf8_lossy(&hot.key)),
                "hash": format!("{:016x}", hot.hash),
                "share": hot.share,
            })
        })
        .collect();
    json!({
        "status": report.status,
        "version": report.version,
        "uptime_seconds": report.uptime_seconds,
        "entries": report.entries,
        "memory_bytes": report.memory_bytes,
        "memory_limit_bytes": report.memory_limit_bytes,
        "hints_pending": report.hints_pending,
        "members_alive": report.members_alive,
        "view_hash": report.view_hash,
        "ring_hash": report.ring_hash,
        "owned_ratio": report.owned_ratio,
        "operations_total": report.operations_total,
        "hits_total": report.hits_total,
        "misses_total": report.misses_total,
        "evictions_total": report.evictions_total,
        "slots_unsettled": report.slots_unsettled,
        "slots_wanting": report.slots_wanting,
        "hot_keys": hot_keys,
    })
}

/// A member as JSON. Ids have 64 bits, more than JSON readers keep: as text.
#[must_use]
pub(crate) fn member_document(member: &Member) -> Value {
    json!({
        "name": member.name,
        "node_id": format!("{:016x}", member.node_id),
        "boot_id": format!("{:016x}", member.boot_id),
        "liveness": member.liveness,
        "phase": member.phase,
        "in_ring": member.in_ring,
        "peer_address": member.peer_address,
        "grpc_address": member.grpc_address,
        "http_address": member.http_address,
        "zone": member.zone,
    })
}
