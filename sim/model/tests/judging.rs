//! The player judges reads by itself: a subject that breaks a promise without noticing does not pass.

use slot_model::{
    config::NodeId,
    scenario::{
        Action, Failure, Held, NodeState, OperationName, OperationState, Progress, Reply, Scenario,
        Subject, Unmet, play,
    },
};

/// Acknowledges everything, and reads what it is told to.
struct Careless {
    begun: Vec<(OperationName, bool)>,
    reads: Option<Held>,
    losses: usize,
}

impl Subject for Careless {
    fn act(&mut self, action: &Action) -> bool {
        if let Action::Operate { name, request, .. } = action {
            let reads = *request == slot_model::world::Request::Read;
            self.begun.push((*name, reads));
        }
        true
    }

    fn node(&self, _: NodeId) -> NodeState {
        NodeState::default()
    }

    fn operation(&self, name: OperationName) -> OperationState {
        let reads = self.begun.contains(&(name, true));
        OperationState {
            progress: if reads {
                Progress::Returned(self.reads)
            } else {
                Progress::Acknowledged
            },
            replies: vec![(NodeId(0), Reply::Ok)],
        }
    }

    fn losses(&self) -> usize {
        self.losses
    }

    fn violation(&self) -> Option<String> {
        None
    }
}

const WRITES_AND_A_READ: &str = "nodes AB\nfirst AB\nwrite A k1 at AB\ndelete A k1 at AB\n\
                                 write A k1 at AB\nwrite A k2 at AB\nread A k1 at AB";

fn read(reads: Option<Held>, losses: usize) -> Result<(), Failure> {
    let scenario = Scenario::parse(WRITES_AND_A_READ).expect("a scenario");
    let mut subject = Careless {
        begun: vec![],
        reads,
        losses,
    };
    play(&scenario, &mut subject)
}

fn held(by: usize, tombstone: bool) -> Option<Held> {
    Some(Held {
        by: OperationName(by),
        tombstone,
    })
}

fn broken(result: Result<(), Failure>) -> Option<String> {
    match result.err()?.unmet {
        Unmet::Promise { broken } => Some(broken),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_newest_write_may_be_read() {
    assert_eq!(read(held(2, false), 0), Ok(()));
}

#[test]
fn what_was_superseded_may_not_come_back() {
    let came_back = broken(read(held(0, false), 0));
    assert_eq!(
        came_back.as_deref(),
        Some("write 1 came back, after delete 2")
    );
    let tombstone = broken(read(held(1, true), 0));
    assert_eq!(
        tombstone.as_deref(),
        Some("delete 2 came back, after write 3")
    );
    // Not even after a loss.
    assert!(broken(read(held(0, false), 1)).is_some());
}

#[test]
fn what_was_acknowledged_may_be_missing_only_after_a_loss() {
    let missing = broken(read(None, 0));
    assert_eq!(missing.as_deref(), Some("nothing was found of write 1"));
    assert_eq!(read(None, 1), Ok(()));
}
