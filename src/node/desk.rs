//! What the whole node answers about itself: to clients, to peers and to a scrape.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;
use shard_cache_membership::{
    handle::Handle,
    identity::{BootId, NodeId},
    record::Phase,
    view::{Liveness, Member, View},
};
use shard_cache_proto::cluster as pb;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    api::{ClusterQueries, Condition, NodeHealth, peer::PeerDesk},
    clock::{BoxFuture, Clock, Monotonic},
    coordinator::{Coordinator, HotKey},
    handoff::{OwedHints, RepairMarks, RingCell, slots::Slots},
    key::{Key, Slot},
    node::{departure::Departure, keeper::KeeperDesk, reload::Reloader},
    offsets::PeerClocks,
    overload::Admission,
    repair::Agreements,
    ring::{Ring, RingMember},
    store::{SlotSet, Store},
    telemetry::{
        Lookup, Machine, Metrics, Op, OperationOutcome, PeerHints, Snapshot,
        process::ProcessFigures,
    },
    transport::{PeerTransport, PushPull, Reach},
};

/// How long gathering the reports of all members may take: whoever asks has the whole within a second.
const STATUS_TIMEOUT: Duration = Duration::from_millis(700);
/// A report names the members that its node sees alive if there are no more than so many: together, reports grow with the
/// square of their number.
const ALIVE_NAMED_MAX: usize = 1024;
/// Hot keys in a report.
const HOT_KEYS_MAX: usize = 10;

/// What the node is and was configured for.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) own: NodeId,
    pub(super) name: String,
    pub(super) cluster_id: String,
    pub(super) replication_factor: u8,
    pub(super) read_quorum: u8,
    pub(super) write_quorum: u8,
    pub(super) capacity_entries: u64,
    pub(super) hints_window: Duration,
    pub(super) memory_limit_bytes: u64,
}

/// Answers for the node.
pub(super) struct Desk {
    pub(super) facts: Facts,
    pub(super) membership: Handle,
    pub(super) keeper: KeeperDesk,
    pub(super) ring: RingCell,
    pub(super) slots: Arc<Slots>,
    pub(super) store: Arc<Store>,
    pub(super) hints: Arc<OwedHints>,
    pub(super) marks: RepairMarks,
    pub(super) agreements: Agreements,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) transport: Arc<dyn PeerTransport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) clocks: Arc<PeerClocks>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) boot: Arc<AtomicU64>,
    pub(super) draining: Arc<AtomicBool>,
    pub(super) admission: Arc<Admission>,
    pub(super) reloader: Reloader,
    pub(super) departure: Departure,
    pub(super) machine: Machine,
    pub(super) started: Monotonic,
}

impl Desk {
    pub(super) fn view(&self) -> Arc<View> {
        self.membership.view().borrow().clone()
    }

    fn uptime(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    /// The condition and, unless it is ok, the reason, and whether any slot has a quorum.
    fn condition(&self, view: &View) -> (Condition, String, bool) {
        let standing = self.keeper.standing.borrow().clone();
        if self.draining.load(Ordering::Acquire) {
            return (
                Condition::Draining,
                "this node is leaving the cluster".to_owned(),
                false,
            );
        }
        let Some(ring) = self.ring.ring.load_full() else {
            let reason = standing.refusal.map_or_else(
                || "waiting for enough members to form a ring, or for a ring to join".to_owned(),
                |refusal| format!("a peer refuses this node: {refusal}"),
            );
            return (Condition::Joining, reason, false);
        };
        let clock_off = self.clocks.refusing();
        if standing.phase == Phase::Joining {
            return (
                Condition::Joining,
                "copying this node's slots before it enters the ring".into(),
                clock_off.is_none(),
            );
        }
        let (present, absent): (Vec<RingMember>, Vec<RingMember>) = ring
            .members()
            .iter()
            .partition(|member| is_present(view, **member));
        // Gossip and peer links fail and heal apart from each other.
        let unlinked = present
            .into_iter()
            .filter(|member| member.node_id != self.facts.own)
            .filter(|member| self.transport.reach(member.node_id) == Reach::Down);
        let names = |members: Vec<RingMember>| -> Vec<String> {
            let named = members.iter().map(|member| view.name_of(member.node_id));
            named.collect()
        };
        let (absent, unlinked) = (names(absent), names(unlinked.collect()));
        let slots = self.slots.counts();
        let moving = match (slots.wanting, slots.unsettled) {
            (0, 0) => None,
            (0, unsettled) => Some(format!("{unsettled} slots are not settled")),
            (wanting, unsettled) => Some(format!(
                "{unsettled} slots are not settled, of {wanting} this node has no full copy"
            )),
        };
        // Slots that move are served meanwhile; they are told of where something else is wrong, too.
        if absent.is_empty() && unlinked.is_empty() && clock_off.is_none() {
            return (Condition::Ok, String::new(), true);
        }
        let unserved = self.coordinator.unserved_ratio(&ring);
        let share = if unserved > 0.0 {
            format!("; {:.1} % of the slots lack a quorum", unserved * 100.0)
        } else {
            String::new()
        };
        let clock = clock_off.map(|off| format!("clock: {off}"));
        let members = [("absent", absent), ("no link to", unlinked)]
            .into_iter()
            .filter(|(_, members)| !members.is_empty())
            .map(|(what, members)| format!("{what}: {}", members.join(", ")));
        let reasons: Vec<String> = clock.into_iter().chain(members).chain(moving).collect();
        (
            Condition::Degraded,
            format!("{}{share}", reasons.join("; ")),
            unserved < 1.0 && clock_off.is_none(),
        )
    }

    /// The members without those that are down and gone for good.
    pub(super) fn remembered<'a>(
        &self,
        view: &'a View,
    ) -> impl Iterator<Item = &'a Member> + use<'a> {
        let orders = self.keeper.offer.orders.load_full();
        view.members.iter().filter(move |member| {
            let life = RingMember {
                node_id: member.node_id,
                boot_id: member.boot_id,
            };
            member.liveness != Liveness::Down || !orders.is_forgotten(life)
        })
    }

    fn owned_ratio(&self) -> f64 {
        self.ring.ring.load().as_deref().map_or(0.0, |ring| {
            f64::from(ring.owned_slots(self.facts.own)) / f64::from(ring.shape().slots)
        })
    }

    /// For how long the member that is furthest behind has not taken everything that this node had.
    fn tombstones_held(&self) -> Duration {
        match self.agreements.oldest_millis() {
            u64::MAX => Duration::ZERO,
            0 => self.uptime(),
            agreed => Duration::from_millis(self.clock.wall_millis().saturating_sub(agreed)),
        }
    }

    fn operations_total(&self) -> u64 {
        let mut total = 0;
        for operation in [Op::Get, Op::Set, Op::Delete] {
            for outcome in [
                OperationOutcome::Ok,
                OperationOutcome::Degraded,
                OperationOutcome::Unavailable,
                OperationOutcome::Unknown,
                OperationOutcome::Timeout,
            ] {
                total += self
                    .metrics
                    .coordinator_operations
                    .get((operation, outcome))
                    .get();
            }
        }
        total
    }

    pub(super) fn shown(&self, member: &Member) -> pb::Member {
        let ring = self.ring.ring.load();
        let in_ring = ring.as_deref().is_some_and(|ring| {
            let shown = RingMember {
                node_id: member.node_id,
                boot_id: member.boot_id,
            };
            ring.members().contains(&shown)
        });
        let record = member.record.as_deref();
        pb::Member {
            name: record.map_or_else(|| member.node_id.to_string(), |record| record.name.clone()),
            node_id: member.node_id.0,
            boot_id: member.boot_id.0,
            liveness: member.liveness.as_str().to_owned(),
            phase: record
                .map(|record| record.phase.as_str().to_owned())
                .unwrap_or_default(),
            peer_address: member.peer_addr.to_string(),
            grpc_address: record
                .map(|record| record.grpc_addr.clone())
                .unwrap_or_default(),
            http_address: record
                .map(|record| record.http_addr.clone())
                .unwrap_or_default(),
            zone: record.map(|record| record.zone.clone()).unwrap_or_default(),
            in_ring,
        }
    }

    /// The configuration that this node is in, beside the owners that the ring names.
    fn slot_configuration(
        &self,
        ring: &Ring,
        view: &View,
        slot: Slot,
    ) -> Option<pb::SlotConfiguration> {
        let gates = self.ring.gates.load();
        let configuration = gates.configuration(slot)?;
        let owners = configuration.owners();
        let id = configuration.id();
        Some(pb::SlotConfiguration {
            root: id.root,
            number: id.number,
            owners: id.owners,
            current: owners.iter().eq(ring.owners(slot).iter()),
            owner_names: owners
                .iter()
                .map(|owner| view.name_of(owner.node_id))
                .collect(),
            full: gates.is_full(slot),
        })
    }

    /// Asks every member for its report, all at once.
    fn gather(&self, view: &View) -> Vec<BoxFuture<pb::NodeStatus>> {
        self.remembered(view)
            .map(|member| {
                let shown = self.shown(member);
                if member.node_id == self.facts.own {
                    let report = self.report();
                    return ready(pb::NodeStatus {
                        member: Some(shown),
                        report: Some(report),
                        error: String::new(),
                    });
                }
                // Those seen down are asked, too: it may be this node that is wrong.
                let is_down = member.liveness == Liveness::Down;
                let call = self.transport.report(member.node_id);
                let timeout = self.clock.sleep(STATUS_TIMEOUT);
                let asked = async move {
                    let answer = tokio::select! {
                        biased;
                        answer = call => answer,
                        () = timeout => {
                            return unreported(shown, format!("no answer in {STATUS_TIMEOUT:?}"));
                        }
                    };
                    let report = answer.map_err(|error| error.to_string()).and_then(|bytes| {
                        pb::NodeReport::decode(bytes).map_err(|error| error.to_string())
                    });
                    match report {
                        Ok(report) => pb::NodeStatus {
                            member: Some(shown),
                            report: Some(report),
                            error: String::new(),
                        },
                        Err(error) if is_down => unreported(shown, format!("down: {error}")),
                        Err(error) => unreported(shown, error),
                    }
                };
                Box::pin(asked) as BoxFuture<pb::NodeStatus>
            })
            .collect()
    }

    /// The highest number of a slot's configuration; 0 before the first ring.
    fn ring_epoch(&self) -> u64 {
        let gates = self.ring.gates.load();
        let numbers = gates
            .slots()
            .filter_map(|slot| Some(gates.configuration(slot)?.number()));
        numbers.max().map_or(0, u64::from)
    }
}

impl ClusterQueries for Desk {
    fn health(&self) -> NodeHealth {
        let view = self.view();
        let (condition, reason, serves) = self.condition(&view);
        NodeHealth {
            condition,
            reason,
            serves,
            node: self.facts.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            members_alive: count(view.present().count()),
            members_known: count(view.members.len()),
            ring_hash: self.ring.ring.load().as_deref().map(Ring::hash),
            entries: self.store.stats().entries as u64,
            uptime_seconds: self.uptime().as_secs(),
        }
    }

    fn report(&self) -> pb::NodeReport {
        let view = self.view();
        let health = self.health();
        let stats = self.store.stats();
        let hints = self.hints.stats();
        let slots = self.slots.counts();
        pb::NodeReport {
            status: health.condition.as_str().to_owned(),
            version: health.version.to_owned(),
            uptime_seconds: health.uptime_seconds,
            entries: stats.entries as u64,
            memory_bytes: stats.memory_bytes as u64,
            memory_limit_bytes: self.facts.memory_limit_bytes,
            hints_pending: hints
                .targets
                .iter()
                .map(|target| target.pending as u64)
                .sum(),
            members_alive: health.members_alive,
            view_hash: format!("{:016x}", view_hash(&view)),
            ring_hash: health.ring_hash_shown(),
            owned_ratio: self.owned_ratio(),
            operations_total: self.operations_total(),
            hits_total: self.metrics.lookups.get(Lookup::Hit).get(),
            misses_total: self.metrics.lookups.get(Lookup::Miss).get(),
            evictions_total: stats.evictions_capacity + stats.evictions_memory,
            slots_unsettled: slots.unsettled as u64,
            slots_wanting: slots.wanting as u64,
            alive: alive(&view),
            hot_keys: hot_keys(self.coordinator.hot_keys(HOT_KEYS_MAX)),
        }
    }

    fn status(&self) -> BoxFuture<pb::StatusResponse> {
        let view = self.view();
        let asked = self.gather(&view);
        let Facts {
            name,
            cluster_id,
            replication_factor,
            read_quorum,
            write_quorum,
            ..
        } = self.facts.clone();
        Box::pin(async move {
            let mut nodes = join_all(asked).await;
            nodes.sort_by_cached_key(sort_key);
            let reports = || nodes.iter().filter_map(|node| node.report.as_ref());
            let rings_agree = agree(reports().map(|report| report.ring_hash.as_str()));
            let views_agree = agree(reports().map(|report| report.view_hash.as_str()));
            let views = views(&nodes);
            pb::StatusResponse {
                cluster_id,
                asked: name,
                rings_agree,
                views_agree,
                replication_factor: u32::from(replication_factor),
                read_quorum: u32::from(read_quorum),
                write_quorum: u32::from(write_quorum),
                nodes,
                views,
            }
        })
    }

    fn members(&self) -> pb::MembersResponse {
        let view = self.view();
        pb::MembersResponse {
            members: self
                .remembered(&view)
                .map(|member| self.shown(member))
                .collect(),
            view_version: view.version,
        }
    }

    fn owners(&self, key: &Key) -> Option<pb::OwnersResponse> {
        let ring = self.ring.ring.load_full()?;
        let view = self.view();
        let slot = ring.slot(key);
        let owners = ring.owners(slot).iter().map(|owner| pb::Owner {
            member: Some(view.member(owner.node_id).map_or_else(
                || pb::Member {
                    name: owner.node_id.to_string(),
                    ..Default::default()
                },
                |member| self.shown(member),
            )),
            score: Ring::score(owner.node_id, slot),
        });
        Some(pb::OwnersResponse {
            slot: u32::from(slot.0),
            owners: owners.collect(),
            ring_hash: format!("{:016x}", ring.hash()),
            configuration: self.slot_configuration(&ring, &view, slot),
        })
    }

    fn snapshot(&self) -> Snapshot {
        let view = self.view();
        let stats = self.store.stats();
        let liveness = |wanted: Liveness| {
            view.members
                .iter()
                .filter(|member| member.liveness == wanted)
                .count() as u64
        };
        let owed = self.hints.stats();
        let others = view
            .members
            .iter()
            .filter(|member| member.node_id != self.facts.own);
        let mut hints: Vec<_> = others
            .map(|member| {
                let target = owed
                    .targets
                    .iter()
                    .find(|target| target.target == member.node_id);
                PeerHints {
                    peer: view.name_of(member.node_id),
                    pending: target.map_or(0, |target| target.pending as u64),
                    pending_bytes: target.map_or(0, |target| target.bytes as u64),
                    oldest_age_seconds: target
                        .map_or(0.0, |target| target.oldest_age_millis as f64 / 1000.0),
                    marked_slots: self.hints.marks(member.node_id).len() as u64,
                }
            })
            .collect();
        hints.sort_by(|a, b| a.peer.cmp(&b.peer));
        let slots = self.slots.counts();
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.uptime().as_secs_f64(),
            entries: stats.entries as u64,
            capacity_entries: self.facts.capacity_entries,
            memory_used_bytes: stats.memory_bytes as u64,
            memory_limit_bytes: self.facts.memory_limit_bytes,
            memory_limit_effective_bytes: self.store.allowed_bytes() as u64,
            tombstones: stats.tombstones as u64,
            tombstones_held_seconds: self.tombstones_held().as_secs_f64(),
            evictions_capacity: stats.evictions_capacity,
            evictions_memory: stats.evictions_memory,
            expired: stats.expired,
            floors_raised: stats.floors_raised,
            ghosts: self.store.ghosts() as u64,
            ghosts_forgotten: stats.ghosts_forgotten,
            members_alive: liveness(Liveness::Alive),
            members_suspect: liveness(Liveness::Suspect),
            members_down: liveness(Liveness::Down),
            membership_view_hash: view_hash(&view),
            ring_owned_ratio: self.owned_ratio(),
            slots_unsettled: slots.unsettled as u64,
            slots_wanting: slots.wanting as u64,
            slots_lost_waiting: self.slots.losses_waiting() as u64,
            ring_changes: self.keeper.standing.borrow().ring_changes,
            ring_hash: self.ring.ring.load().as_deref().map_or(0, Ring::hash),
            ring_epoch: self.ring_epoch(),
            gossip: self.membership.counters(),
            own: Some(self.facts.own),
            peers: view
                .members
                .iter()
                .map(|member| (member.node_id, view.name_of(member.node_id)))
                .collect(),
            hints,
            hints_window_seconds: self.facts.hints_window.as_secs_f64(),
            clock_offset_seconds: self.clocks.median_ahead_millis() as f64 / 1000.0,
            clock_skews: self
                .clocks
                .ahead_millis(self.clock.monotonic())
                .into_iter()
                .map(|(peer, millis)| (view.name_of(peer), millis as f64 / 1000.0))
                .collect(),
            hot_keys: self
                .coordinator
                .hot_keys(HOT_KEYS_MAX)
                .into_iter()
                .map(|hot| (hot.hash, hot.share))
                .collect(),
            clock_refusing: u64::from(self.clocks.refusing().is_some()),
            cpu_utilization_ratio: self.admission.cpu_utilization(),
            cpu_shed_pressure_ratio: self.admission.cpu_pressure(),
            runtimes: self.machine.runtime_figures(),
            allocator: self.machine.allocator_figures(),
            process: ProcessFigures::read(),
        }
    }
}

impl PeerDesk for Desk {
    fn push_pull(&self, offer: PushPull) -> BoxFuture<Result<PushPull, String>> {
        let intake = self.keeper.intake.clone();
        Box::pin(async move {
            intake.take(&offer).await?;
            intake.offered().await
        })
    }

    fn encoded_report(&self) -> Bytes {
        ClusterQueries::report(self).encode_to_vec().into()
    }

    fn mark_for_repair(&self, slots: &SlotSet) {
        self.marks.add(slots);
    }

    fn note_agreement(&self, peer: BootId, millis: u64) {
        self.agreements.hear(peer, millis);
    }

    fn boot(&self) -> u64 {
        self.boot.load(Ordering::Acquire)
    }
}

/// Hash of the members seen present, with their boot ids; equal on nodes that agree.
fn view_hash(view: &View) -> u64 {
    let mut hash = Xxh3::new();
    for member in view.present() {
        hash.update(&member.node_id.0.to_le_bytes());
        hash.update(&member.boot_id.0.to_le_bytes());
    }
    hash.digest()
}

fn hot_keys(keys: Vec<HotKey>) -> Vec<pb::HotKey> {
    let message = |HotKey { key, hash, share }| pb::HotKey { key, hash, share };
    keys.into_iter().map(message).collect()
}

/// The members seen present; none in a cluster that is too large for that.
fn alive(view: &View) -> Vec<u64> {
    let mut alive: Vec<u64> = view.present().map(|member| member.node_id.0).collect();
    if alive.len() > ALIVE_NAMED_MAX {
        return Vec::new();
    }
    alive.sort_unstable();
    alive
}

/// Who sees what, by the reports; what most nodes see comes first.
fn views(nodes: &[pb::NodeStatus]) -> Vec<pb::View> {
    let mut views: Vec<pb::View> = Vec::new();
    for node in nodes {
        let (Some(member), Some(report)) = (&node.member, &node.report) else {
            continue;
        };
        if let Some(same) = views.iter_mut().find(|view| view.hash == report.view_hash) {
            same.seen_by.push(member.name.clone());
            continue;
        }
        let all = nodes.iter().filter_map(|node| node.member.as_ref());
        let (alive, not_alive) = if report.alive.is_empty() {
            (Vec::new(), Vec::new())
        } else {
            all.map(|member| (member, report.alive.contains(&member.node_id)))
                .partition::<Vec<_>, _>(|(_, is_alive)| *is_alive)
        };
        let names = |members: Vec<(&pb::Member, bool)>| -> Vec<String> {
            let named = members.into_iter().map(|(member, _)| member.name.clone());
            named.collect()
        };
        views.push(pb::View {
            hash: report.view_hash.clone(),
            seen_by: vec![member.name.clone()],
            alive: names(alive),
            not_alive: names(not_alive),
        });
    }
    views.sort_by_key(|view| std::cmp::Reverse(view.seen_by.len()));
    views
}

pub(super) fn is_present(view: &View, wanted: RingMember) -> bool {
    view.member(wanted.node_id)
        .is_some_and(|member| member.liveness.is_present() && member.boot_id == wanted.boot_id)
}

fn unreported(member: pb::Member, error: String) -> pb::NodeStatus {
    pb::NodeStatus {
        member: Some(member),
        report: None,
        error,
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<T> {
    Box::pin(std::future::ready(value))
}

fn agree<'a>(mut values: impl Iterator<Item = &'a str>) -> bool {
    let first = values.next();
    first.is_some_and(|first| !first.is_empty() && values.all(|value| value == first))
}

fn sort_key(node: &pb::NodeStatus) -> (String, String) {
    let member = node.member.as_ref();
    let zone = member.map(|member| member.zone.clone()).unwrap_or_default();
    (
        zone,
        member.map(|member| member.name.clone()).unwrap_or_default(),
    )
}

fn count(members: usize) -> u32 {
    u32::try_from(members).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, id: u64, sees: Option<&[u64]>) -> pb::NodeStatus {
        pb::NodeStatus {
            member: Some(pb::Member {
                name: name.to_owned(),
                node_id: id,
                ..pb::Member::default()
            }),
            report: sees.map(|alive| pb::NodeReport {
                view_hash: format!("{alive:?}"),
                alive: alive.to_vec(),
                ..pb::NodeReport::default()
            }),
            error: String::new(),
        }
    }

    #[test]
    fn each_view_names_who_has_it_and_whom_it_lacks() {
        let nodes = [
            node("a", 1, Some(&[1])),
            node("b", 2, Some(&[2, 3])),
            node("c", 3, Some(&[2, 3])),
            node("d", 4, None),
        ];
        let shown: Vec<_> = views(&nodes)
            .into_iter()
            .map(|view| {
                (
                    view.seen_by.join(" "),
                    view.alive.join(" "),
                    view.not_alive.join(" "),
                )
            })
            .collect();
        let expected = [("b c", "b c", "a d"), ("a", "a", "b c d")];
        let expected =
            expected.map(|(by, alive, not)| (by.to_owned(), alive.to_owned(), not.to_owned()));
        assert_eq!(shown, expected);
    }

    #[test]
    fn who_names_nobody_still_has_a_view() {
        let mut silent = node("a", 1, Some(&[]));
        if let Some(report) = &mut silent.report {
            report.view_hash = "h".to_owned();
        }
        let views = views(&[silent]);
        assert_eq!(
            (views.len(), views[0].seen_by.len(), views[0].alive.len()),
            (1, 1, 0)
        );
    }
}
