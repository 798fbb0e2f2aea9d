//! A node's process: started, recognised again by a later command, signalled.
//!
//! A process id alone may belong to another program by the time it is read again, so it is kept together with the
//! process's start time, where the system tells (Linux). A process that has ended and was not yet collected by its
//! parent counts as gone.

use std::{
    fmt, fs,
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    str::FromStr,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A process and when it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProcessId {
    pid: Pid,
    /// In the kernel's clock ticks since the machine started; `None` where the system does not tell.
    started: Option<u64>,
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProcessState {
    /// Runs, or waits for something.
    Running,
    /// Was stopped by a signal and can go on.
    Paused,
    /// Has ended, or its id belongs to another process by now.
    Gone,
}

impl ProcessState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Gone => "gone",
        }
    }
}

impl ProcessId {
    /// The number alone.
    pub(super) fn number(self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it does now.
    pub(super) fn state(self) -> ProcessState {
        match (Stat::of(self.pid), self.started) {
            (Some(stat), Some(started)) if stat.started != started => ProcessState::Gone,
            (Some(stat), _) => stat.state(),
            // Without /proc the id is all there is to go by.
            (None, None) if test_kill_process(self.pid).is_ok() => ProcessState::Running,
            (None, _) => ProcessState::Gone,
        }
    }

    /// Sends a signal, unless the process is gone.
    pub(super) fn signal(self, signal: Signal) -> io::Result<()> {
        if self.state() == ProcessState::Gone {
            return Ok(());
        }
        match kill_process(self.pid, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())?;
        self.started
            .map_or(Ok(()), |started| write!(f, " {started}"))
    }
}

impl FromStr for ProcessId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a process id and its start time";
        let mut words = text.split_whitespace();
        let number: i32 = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or(EXPECTED)?;
        // Smaller numbers are no process or the first one, and negative ones are groups.
        let pid = if number > 1 {
            Pid::from_raw(number)
        } else {
            None
        }
        .ok_or(EXPECTED)?;
        let started = match words.next() {
            Some(word) => Some(word.parse().map_err(|_| EXPECTED)?),
            None => None,
        };
        Ok(Self { pid, started })
    }
}

/// What /proc/PID/stat says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stat {
    letter: char,
    started: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let number = pid.as_raw_nonzero();
        Self::parse(&fs::read_to_string(format!("/proc/{number}/stat")).ok()?)
    }

    /// The program's name stands in brackets and may contain anything, brackets and blanks too.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let letter = fields.next()?.chars().next()?;
        // The state is field 3, the start time field 22.
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { letter, started })
    }

    const fn state(self) -> ProcessState {
        match self.letter {
            'Z' | 'X' | 'x' => ProcessState::Gone,
            'T' | 't' => ProcessState::Paused,
            _ => ProcessState::Running,
        }
    }
}

/// Starts a process of this program that outlives the command and does not get its terminal's signals. Both outputs are
/// appended to `log`.
pub(super) fn spawn(arguments: &[String], log: &Path) -> io::Result<ProcessId> {
    let program = std::env::current_exe()?;
    let log = File::options().create(true).append(true).open(log)?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    // Not waited for: it is meant to outlive this command. Whether it lives is read from /proc.
    drop(child);
    Ok(ProcessId {
        pid,
        started: Stat::of(pid).map(|stat| stat.started),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ProcessId {
        let pid = rustix::process::getpid();
        ProcessId {
            pid,
            started: Stat::of(pid).map(|stat| stat.started),
        }
    }

    #[test]
    fn a_program_with_an_awkward_name_is_understood() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let stat = Stat::parse(&format!("12 (a) b (c) {fields}"));
        assert_eq!(
            stat,
            Some(Stat {
                letter: 'S',
                started: 4711
            })
        );
        assert_eq!(Stat::parse("12 (short) S 1"), None);
    }

    #[test]
    fn a_process_is_recognised_after_it_was_written_down() {
        let own = own();
        let read: ProcessId = own.to_string().parse().unwrap();
        assert_eq!((read, read.state()), (own, ProcessState::Running));
    }

    #[test]
    fn a_process_id_that_was_reused_is_gone() {
        let own = own();
        // Where the system tells no start time there is nothing to compare.
        let Some(started) = own.started else { return };
        let other = ProcessId {
            started: Some(started + 1),
            ..own
        };
        assert_eq!(other.state(), ProcessState::Gone);
    }

    #[test]
    fn what_is_no_process_id_is_refused() {
        for text in ["", "x", "0", "1", "-5", "12 x"] {
            assert!(text.parse::<ProcessId>().is_err(), "{text}");
        }
    }
}
