//! What the rest of a node holds of its running membership: views out, commands in.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    agent::{InputError, Parting},
    counters::{Counters, CountersSnapshot},
    identity::BootId,
    record::Phase,
    view::View,
};

/// A handle to the membership thread. Clones are equal. The thread ends with [`Handle::shutdown`]
/// or with the last clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) views: watch::Receiver<Arc<View>>,
    pub(crate) rivals: watch::Receiver<Option<SocketAddr>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Why a command was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// The membership thread has ended. Whether the command was carried out before is not known.
    #[error("membership has stopped")]
    Stopped,
    /// The agent refused it and is unchanged.
    #[error(transparent)]
    Refused(#[from] InputError),
}

/// A command and where its answer goes.
#[derive(Debug)]
pub(crate) enum Command {
    UpdateRecord {
        phase: Phase,
        attachment: Vec<u8>,
        reply: Reply<Result<(), InputError>>,
    },
    MergeState {
        bytes: Vec<u8>,
        reply: Reply<Result<(), InputError>>,
    },
    ChangeBoot {
        boot_id: BootId,
        reply: Reply<()>,
    },
    ExportState {
        reply: Reply<Vec<u8>>,
    },
    Leave {
        within: Duration,
        reply: Reply<Parting>,
    },
    Shutdown,
}

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// All methods are cancel-safe: a command that was sent is carried out even if its caller stops
/// waiting.
impl Handle {
    /// The views as they change, starting with the present one. Whole views: a slow consumer misses
    /// none that matters.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Peer addresses at which somebody may answer who has our name or our address, and before whom we have to give way;
    /// see [`crate::agent::Agent::rival_due`]. Only the latest one is kept.
    #[must_use]
    pub fn rivals(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.rivals.clone()
    }

    /// The address that the socket is bound to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// All counters now.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot()
    }

    /// Changes what our record says and spreads it.
    ///
    /// # Errors
    /// If the attachment is too large, or membership has stopped.
    pub async fn update_record(
        &self,
        phase: Phase,
        attachment: Vec<u8>,
    ) -> Result<(), CommandError> {
        let command = |reply| Command::UpdateRecord {
            phase,
            attachment,
            reply,
        };
        Ok(self.ask(command).await??)
    }

    /// Gives our memory a new life: the store was discarded.
    ///
    /// # Errors
    /// If membership has stopped.
    pub async fn change_boot(&self, boot_id: BootId) -> Result<(), CommandError> {
        self.ask(|reply| Command::ChangeBoot { boot_id, reply })
            .await
    }

    /// The full member state, to send to a peer.
    ///
    /// # Errors
    /// If membership has stopped.
    pub async fn export_state(&self) -> Result<Vec<u8>, CommandError> {
        self.ask(|reply| Command::ExportState { reply }).await
    }

    /// Takes in what a peer exported.
    ///
    /// # Errors
    /// If the bytes are no state of this cluster, or membership has stopped.
    pub async fn merge_state(&self, bytes: Vec<u8>) -> Result<(), CommandError> {
        Ok(self
            .ask(|reply| Command::MergeState { bytes, reply })
            .await??)
    }

    /// Says that we are leaving, leaves when the others know, at the latest after `within`, and
    /// returns when the linger time is over. Peers show that they know in the states that they
    /// export. Of several calls the first one's `within` counts. The thread still runs afterwards.
    ///
    /// # Errors
    /// If membership has stopped.
    pub async fn leave(&self, within: Duration) -> Result<Parting, CommandError> {
        self.ask(|reply| Command::Leave { within, reply }).await
    }

    /// Ends the thread, without leaving the cluster, and waits for it. Further calls return at
    /// once.
    pub async fn shutdown(&self) {
        // A closed channel means that the thread has ended or is about to.
        let _ = self.commands.send(Command::Shutdown).await;
        self.commands.closed().await;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the membership thread panicked");
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        let stopped = |_| CommandError::Stopped;
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| CommandError::Stopped)?;
        answer.await.map_err(stopped)
    }
}
