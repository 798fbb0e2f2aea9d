//! Runs a fault: a command that makes it and undoes it. Lines on its standard output that begin with `chaos: on` and
//! `chaos: off` say when the fault works; without them it counts from the command's start to its end.

use std::{
    process::{ExitStatus, Stdio},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{ChildStdout, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{history::FaultState, recorder::Recorder};

/// Exit code of a command that lacks a tool or a privilege.
const SKIPPED: i32 = 77;
/// How long a command may take to undo its fault when it is ended.
const UNDO_TIME: Duration = Duration::from_secs(30);

/// A fault, as `NAME: COMMAND`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    /// What it is called in the report.
    pub(crate) name: String,
    /// What the shell runs.
    pub(crate) command: String,
    /// Whether the run proves nothing without it.
    pub(crate) required: bool,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once(':').ok_or("expected NAME: COMMAND")?;
        let (name, command) = (name.trim(), command.trim());
        if name.is_empty() || command.is_empty() {
            return Err("expected NAME: COMMAND".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            command: command.to_owned(),
            required: true,
        })
    }
}

impl Fault {
    /// Runs the command to its end, marking in the history how far it got. When cancelled, ends its process group, so
    /// that whatever it started undoes what it did.
    ///
    /// # Errors
    /// The shell cannot be started.
    pub(crate) async fn run(
        &self,
        recorder: &Recorder,
        longest: Duration,
        cancelled: &CancellationToken,
    ) -> anyhow::Result<FaultState> {
        recorder.mark(&self.name, FaultState::Begun);
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let Some(stdout) = child.stdout.take() else {
            bail!("the command has no standard output");
        };
        let group = child.id();
        let begun_us = recorder.now_us();
        // To the end of its output, and not only to the end of the shell: what the shell started may still be undoing.
        let work = async {
            let marks = self.follow(stdout, recorder).await;
            (marks, child.wait().await)
        };
        tokio::pin!(work);
        let in_time = timeout(longest, &mut work);
        let Some(Ok((marks, status))) = cancelled.run_until_cancelled(in_time).await else {
            end(group, work).await;
            recorder.mark(&self.name, FaultState::Failed);
            return Ok(FaultState::Failed);
        };
        let status = status.context("cannot wait for the command")?;
        let state = self.state(status);
        if state == FaultState::Off {
            self.complete(recorder, &marks, begun_us);
        } else {
            recorder.mark(&self.name, state);
        }
        Ok(state)
    }

    fn state(&self, status: ExitStatus) -> FaultState {
        match status.code() {
            Some(0) => FaultState::Off,
            Some(SKIPPED) if !self.required => FaultState::Skipped,
            Some(_) | None => FaultState::Failed,
        }
    }

    async fn follow(&self, stdout: ChildStdout, recorder: &Recorder) -> Marks {
        let mut marks = Marks::default();
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("  {line}");
            if line.starts_with("chaos: on") && !marks.on {
                marks.on = true;
                recorder.mark(&self.name, FaultState::On);
            } else if line.starts_with("chaos: off") && !marks.off {
                marks.off = true;
                recorder.mark(&self.name, FaultState::Off);
            }
        }
        marks
    }

    /// Adds the marks that the command did not make.
    fn complete(&self, recorder: &Recorder, marks: &Marks, begun_us: u64) {
        if !marks.on {
            recorder.mark_at(&self.name, FaultState::On, begun_us);
        }
        if !marks.off {
            recorder.mark(&self.name, FaultState::Off);
        }
    }
}

#[derive(Default)]
struct Marks {
    on: bool,
    off: bool,
}

/// Ends a process group: politely, so that traps run, and by force when that takes too long.
async fn end<T>(group: Option<u32>, mut work: impl Future<Output = T> + Unpin) {
    let group = group.and_then(|id| i32::try_from(id).ok());
    let Some(group) = group.and_then(Pid::from_raw) else {
        return;
    };
    for signal in [Signal::TERM, Signal::KILL] {
        if let Err(error) = kill_process_group(group, signal) {
            eprintln!("cannot end the fault's command: {error}");
        }
        if timeout(UNDO_TIME, &mut work).await.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{FaultMark, History, Run};

    async fn marks_of(command: &str, required: bool) -> (FaultState, Vec<FaultState>) {
        let fault = Fault {
            name: "f".to_owned(),
            command: command.to_owned(),
            required,
        };
        let recorder = Recorder::begin(Run::new("r".to_owned(), Vec::new()), None).unwrap();
        let never = CancellationToken::new();
        let ran = fault.run(&recorder, Duration::from_secs(20), &never).await;
        let history: History = recorder.finish().unwrap();
        let states = history
            .marks
            .iter()
            .map(|mark: &FaultMark| mark.state)
            .collect();
        (ran.unwrap(), states)
    }

    use FaultState::{Begun, Failed, Off, On, Skipped};

    #[tokio::test]
    async fn a_command_says_when_its_fault_works() {
        let (state, marks) = marks_of("echo chaos: on; echo chaos: off", true).await;
        assert_eq!((state, marks), (Off, vec![Begun, On, Off]));
    }

    #[tokio::test]
    async fn a_silent_command_is_its_fault() {
        let (state, marks) = marks_of("true", true).await;
        assert_eq!((state, marks), (Off, vec![Begun, On, Off]));
    }

    #[tokio::test]
    async fn a_fault_that_is_required_is_never_skipped() {
        assert_eq!(
            marks_of("exit 77", false).await,
            (Skipped, vec![Begun, Skipped])
        );
        assert_eq!(
            marks_of("exit 77", true).await,
            (Failed, vec![Begun, Failed])
        );
        assert_eq!(
            marks_of("exit 1", false).await,
            (Failed, vec![Begun, Failed])
        );
    }

    /// The shell itself dies at once; what it started takes a moment, and writes to the same output.
    #[tokio::test]
    async fn a_cancelled_fault_is_undone_before_it_counts_as_over() {
        let trapped =
            "trap 'sleep 0.2; echo chaos: off; exit' TERM; sleep 60 & echo chaos: on; wait";
        let fault: Fault = format!("f: bash -c \"{}\"; true", trapped.replace('$', "\\$"))
            .parse()
            .unwrap();
        let recorder = Recorder::begin(Run::new("r".to_owned(), Vec::new()), None).unwrap();
        let cancelled = CancellationToken::new();
        let run = fault.run(&recorder, Duration::from_secs(20), &cancelled);
        let cancel = async {
            while recorder.marks() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cancelled.cancel();
        };
        let (state, ()) = tokio::join!(run, cancel);
        let history = recorder.finish().unwrap();
        let states: Vec<_> = history.marks.iter().map(|mark| mark.state).collect();
        assert_eq!(
            (state.unwrap(), states),
            (Failed, vec![Begun, On, Off, Failed])
        );
    }

    #[test]
    fn a_fault_has_a_name_and_a_command() {
        let fault: Fault = "kill: chaos/kill.sh 2 --for 15".parse().unwrap();
        assert_eq!(
            (&*fault.name, &*fault.command),
            ("kill", "chaos/kill.sh 2 --for 15")
        );
        assert!("kill".parse::<Fault>().is_err());
        assert!(": x".parse::<Fault>().is_err());
    }
}
