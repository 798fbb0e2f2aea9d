//! A timer that is exact to some ten microseconds: the runtime's own ones tick in milliseconds, which would be most of
//! the latency of a fast node.

use std::{
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Shortest wait that is worth a timer.
const WAIT_MIN: Duration = Duration::from_nanos(1);

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::{Context, Instant, Poll, WAIT_MIN, io};

    /// One alarm of the kernel.
    #[derive(Debug)]
    pub(crate) struct Timer {
        clock: AsyncFd<OwnedFd>,
        armed: Option<Instant>,
    }

    impl Timer {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that others may close; nobody else has this descriptor"
        )]
        pub(crate) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let clock = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self {
                clock: AsyncFd::new(clock)?,
                armed: None,
            })
        }

        pub(crate) fn poll(
            &mut self,
            at: Instant,
            now: Instant,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            if at <= now {
                return Poll::Ready(Ok(()));
            }
            if self.armed != Some(at) {
                let wait = (at - now).max(WAIT_MIN);
                let never = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let alarm = Itimerspec {
                    it_interval: never,
                    it_value: Timespec {
                        tv_sec: wait.as_secs() as i64,
                        tv_nsec: i64::from(wait.subsec_nanos()),
                    },
                };
                timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &alarm)?;
                self.armed = Some(at);
            }
            loop {
                let Poll::Ready(ready) = self.clock.poll_read_ready(cx) else {
                    return Poll::Pending;
                };
                let mut ready = ready?;
                let mut count = [0_u8; 8];
                match rustix::io::read(self.clock.get_ref(), &mut count) {
                    Ok(_) => {
                        self.armed = None;
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                    }
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::{future::Future as _, pin::Pin};

    use super::{Context, Duration, Instant, Poll, WAIT_MIN, io};

    /// The runtime's timer, exact to a millisecond.
    #[derive(Debug)]
    pub(crate) struct Timer {
        sleep: Pin<Box<tokio::time::Sleep>>,
    }

    impl Timer {
        pub(crate) fn new() -> io::Result<Self> {
            let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
            Ok(Self { sleep })
        }

        pub(crate) fn poll(
            &mut self,
            at: Instant,
            now: Instant,
            cx: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
            if at <= now + WAIT_MIN {
                return Poll::Ready(Ok(()));
            }
            self.sleep.as_mut().reset(at.into());
            self.sleep.as_mut().poll(cx).map(Ok)
        }
    }
}

pub(crate) use system::Timer;
