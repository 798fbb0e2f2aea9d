//! That nobody is taken for dead while something else is tested.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Cluster, http};

/// Between two looks at the members.
const LOOK: Duration = Duration::from_millis(100);

/// Looks at the members of all nodes again and again; tells when one is not alive.
pub(crate) struct Lookout {
    stop: Arc<AtomicBool>,
    looking: JoinSet<(usize, Vec<String>)>,
}

impl Lookout {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let addresses: Vec<_> = cluster
            .nodes()
            .iter()
            .map(|node| node.addresses().http)
            .collect();
        let count = addresses.len();
        let stop = Arc::new(AtomicBool::new(false));
        let mut looking = JoinSet::new();
        let stopped = Arc::clone(&stop);
        looking.spawn(async move {
            let (mut looks, mut problems) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                for address in &addresses {
                    match http::get(*address, "/health").await {
                        Ok(answer) => {
                            looks += 1;
                            let health = answer.json();
                            if health["members_alive"] != count {
                                problems.push(health.to_string());
                            }
                        }
                        Err(error) => problems.push(error),
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
            (looks, problems)
        });
        Self { stop, looking }
    }

    /// How often was looked.
    ///
    /// # Panics
    /// When a node did not answer, or did not see all others alive.
    pub(crate) async fn finish(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.looking.join_next().await.expect("one task");
        let (looks, problems) = ended.expect("the lookout does not panic");
        assert!(problems.is_empty(), "{problems:?}");
        looks
    }
}
