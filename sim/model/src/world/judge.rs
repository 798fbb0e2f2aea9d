//! What was acknowledged or returned, and what that forbids from then on.

use std::fmt;

use super::{Entry, OpId, Phase, Request, Version, World};
use crate::config::Root;

/// The highest version of a key that was acknowledged or returned in a root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bound {
    /// The key.
    pub key: u8,
    /// The root.
    pub root: Root,
    /// The version.
    pub version: Version,
}

/// A broken promise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Violation {
    /// G5: a write was acknowledged with a version that is not above one that was known before it began.
    OldWrite {
        /// The write.
        operation: OpId,
        /// Its version.
        version: Version,
        /// What it had to be above.
        bound: Version,
    },
    /// G1, G4: a read returned something older than what was known before it began.
    StaleRead {
        /// The read.
        operation: OpId,
        /// What it returned.
        version: Version,
        /// What it had to return at least.
        bound: Version,
    },
    /// G3, G4: a value came back that an acknowledged write or delete had superseded.
    Revived {
        /// The read that returned it.
        operation: OpId,
        /// Who wrote the value.
        written_by: OpId,
        /// Who superseded it.
        superseded_by: OpId,
        /// By a delete.
        deleted: bool,
    },
    /// A loss was declared although memories were lost one at a time.
    FalseLoss,
    /// All is calm, and still an owner is not full.
    NotFull,
    /// All is calm, and a read gets no quorum.
    NoQuorum,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldWrite {
                operation,
                version,
                bound,
            } => write!(
                formatter,
                "G5: {operation} acknowledged with {version}, not above {bound}"
            ),
            Self::StaleRead {
                operation,
                version,
                bound,
            } => write!(
                formatter,
                "G1, G4: {operation} read {version}, below {bound}"
            ),
            Self::Revived {
                operation,
                written_by,
                superseded_by,
                deleted,
            } => {
                let what = if *deleted {
                    "G3: deleted"
                } else {
                    "G4: superseded"
                };
                write!(
                    formatter,
                    "{what} value of {written_by} (by {superseded_by}) came back in {operation}"
                )
            }
            Self::FalseLoss => formatter
                .write_str("a loss was declared although at most one memory was lost at a time"),
            Self::NotFull => {
                formatter.write_str("liveness: all is calm, and still an owner is not full")
            }
            Self::NoQuorum => {
                formatter.write_str("liveness: all is calm, and a read gets no quorum")
            }
        }
    }
}

impl World {
    pub(super) fn bounds_of(&self, key: u8) -> Vec<(Root, Version)> {
        let bounds = self.bounds.iter().filter(|bound| bound.key == key);
        bounds.map(|bound| (bound.root, bound.version)).collect()
    }

    fn raise(&mut self, key: u8, root: Root, version: Version) {
        let mut bounds = self.bounds.iter_mut();
        match bounds.find(|bound| bound.key == key && bound.root == root) {
            Some(bound) => bound.version = bound.version.max(version),
            None => self.bounds.push(Bound { key, root, version }),
        }
    }

    /// Notes a broken promise; the first counts.
    pub(crate) fn fail(&mut self, violation: Violation) {
        self.note(|_| format!("VIOLATION {violation}"));
        self.violation.get_or_insert(violation);
    }

    pub(super) fn finish_write(&mut self, id: OpId) {
        let now = self.now;
        let operation = self.operation_mut(id);
        operation.phase = Phase::Done;
        operation.done_at = Some(now);
        let (key, root, version) = (operation.key, operation.config.root, operation.version);
        let bound = operation.bound();
        self.writes_done += 1;
        self.note(|_| format!("{id}: ACKNOWLEDGED {version}"));
        if version <= bound {
            self.fail(Violation::OldWrite {
                operation: id,
                version,
                bound,
            });
        }
        self.raise(key, root, version);
    }

    pub(super) fn finish_read(&mut self, id: OpId, found: Option<Entry>) {
        let now = self.now;
        let operation = self.operation_mut(id);
        operation.phase = Phase::Done;
        operation.done_at = Some(now);
        operation.found = found;
        let (key, root, bound) = (operation.key, operation.config.root, operation.bound());
        let version = found.map_or(Version::NONE, |entry| entry.version);
        self.reads_done += 1;
        self.note(|_| match found {
            Some(entry) => format!("{id}: READ {version} of {}", entry.by),
            None => format!("{id}: READ nothing"),
        });
        if version < bound {
            self.fail(Violation::StaleRead {
                operation: id,
                version,
                bound,
            });
        }
        if let Some(violation) = found.and_then(|entry| self.revived(id, entry)) {
            self.fail(violation);
        }
        self.raise(key, root, version);
    }

    /// Across roots: what an acknowledged write or delete superseded never comes back.
    fn revived(&self, id: OpId, entry: Entry) -> Option<Violation> {
        let read = self.operation(id);
        let written = self.operation(entry.by).done_at?;
        let superseding = self.operations.iter().position(|other| {
            other.request != Request::Read
                && other.key == read.key
                && other.began > written
                && other.done_at.is_some_and(|done| done < read.began)
        })?;
        Some(Violation::Revived {
            operation: id,
            written_by: entry.by,
            superseded_by: OpId(superseding as u16),
            deleted: self.operations[superseding].request == Request::Delete,
        })
    }
}
