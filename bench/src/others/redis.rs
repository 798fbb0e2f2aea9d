//! The protocol of redis, as far as SET, GET and WAIT need it.

use super::line::{LINE_BYTES_MAX, Queue, VALUE_BYTES_MAX, block, line, number, put_number};
use crate::{
    operation::{Answer, Cause, Ended, Kind, Operation},
    plan::Plan,
    wire::{Broken, Completed, Session, Ticket},
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Redis {
    queue: Queue,
    /// So many replicas must have a write before it counts; 0 waits for none.
    replicas: u32,
    /// The SET of the next request is answered, its WAIT is not; and how it was answered.
    set: Option<Ended>,
    wait: Vec<u8>,
}

impl Redis {
    pub(crate) fn new(plan: &Plan, replicas: u32) -> Self {
        let mut wait = Vec::new();
        let millis = plan.timeout.as_millis().to_string();
        command(
            &[b"WAIT", replicas.to_string().as_bytes(), millis.as_bytes()],
            &mut wait,
        );
        Self {
            queue: Queue::new(plan),
            replicas,
            set: None,
            wait,
        }
    }

    /// Takes one answer; what follows it, or `None` while it is not whole.
    fn answer<'a>(
        &mut self,
        bytes: &'a [u8],
        done: &mut Vec<Completed>,
    ) -> Result<Option<&'a [u8]>, Broken> {
        let Some((text, mut rest)) = line(bytes) else {
            if bytes.len() > LINE_BYTES_MAX {
                return Err(Broken::protocol("a line is too long"));
            }
            return Ok(None);
        };
        let (first, text) = text
            .split_first()
            .ok_or(Broken::protocol("an empty answer"))?;
        let ended = match first {
            b'+' => Ended::Ok(Answer::Stored),
            b'-' => Ended::Failed(Cause::new("REDIS", "error")),
            b':' => {
                let acknowledged = number(text).unwrap_or_default();
                if acknowledged >= i64::from(self.replicas) {
                    Ended::Ok(Answer::Stored)
                } else {
                    Ended::Unknown(Cause::new("REDIS", "too_few_replicas"))
                }
            }
            b'$' => {
                let length = number(text).ok_or(Broken::protocol("a value without a length"))?;
                match usize::try_from(length) {
                    Err(_negative) => Ended::Ok(Answer::Miss),
                    Ok(length) if length > VALUE_BYTES_MAX => {
                        return Err(Broken::protocol("a value is too large"));
                    }
                    Ok(length) => {
                        let Some((value, after)) = block(rest, length) else {
                            return Ok(None);
                        };
                        rest = after;
                        self.queue.judge(value)
                    }
                }
            }
            _ => return Err(Broken::protocol("an answer of an unknown kind")),
        };
        self.end(ended, done)?;
        Ok(Some(rest))
    }

    fn end(&mut self, ended: Ended, done: &mut Vec<Completed>) -> Result<(), Broken> {
        let operation = self
            .queue
            .front()
            .ok_or(Broken::protocol("an answer to nothing"))?;
        if operation.kind == Kind::Read || self.replicas == 0 {
            self.queue.pop(ended, done);
            return Ok(());
        }
        match self.set.take() {
            None => self.set = Some(ended),
            Some(Ended::Ok(_)) => self.queue.pop(ended, done),
            Some(failed) => self.queue.pop(failed, done),
        }
        Ok(())
    }
}

impl Session for Redis {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.queue.out
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn is_closing(&self) -> bool {
        false
    }

    fn start(&mut self, ticket: Ticket, operation: &Operation) {
        self.queue.push(ticket, operation);
        let Queue {
            key, value, out, ..
        } = &mut self.queue;
        match operation.kind {
            Kind::Read => command(&[b"GET", key], out),
            Kind::Write => {
                command(&[b"SET", key, value], out);
                if self.replicas > 0 {
                    out.extend_from_slice(&self.wait);
                }
            }
        }
    }

    fn abandon(&mut self, ticket: Ticket) {
        self.queue.abandon(ticket);
    }

    fn receive(&mut self, input: &[u8], done: &mut Vec<Completed>) -> Result<usize, Broken> {
        let mut rest = input;
        while let Some(after) = self.answer(rest, done)? {
            rest = after;
        }
        Ok(input.len() - rest.len())
    }
}

fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.push(b'*');
    put_number(words.len(), out);
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        put_number(word.len(), out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(replicas: u32, kinds: &[Kind]) -> Redis {
        let mut session = Redis::new(&Plan::default(), replicas);
        for (number, kind) in kinds.iter().enumerate() {
            let operation = Operation {
                kind: *kind,
                key: 1,
                sequence: 1,
                value_bytes: if *kind == Kind::Write { 3 } else { 0 },
            };
            session.start(Ticket(number as u32), &operation);
        }
        session
    }

    fn receive(session: &mut Redis, input: &[u8]) -> (usize, Vec<(u32, Ended)>) {
        let mut done = Vec::new();
        let taken = session.receive(input, &mut done).unwrap();
        let done = done.into_iter().map(|one| (one.ticket.0, one.ended));
        (taken, done.collect())
    }

    #[test]
    fn a_write_that_waits_for_replicas_has_two_answers() {
        let mut redis = session(1, &[Kind::Write, Kind::Write, Kind::Write]);
        assert!(redis.out().starts_with(b"*3\r\n$3\r\nSET\r\n$32\r\nbench-"));
        let (taken, done) = receive(&mut redis, b"+OK\r\n:2\r\n+OK\r\n:0\r\n-ERR no\r\n:1\r");
        assert_eq!(taken, 27);
        assert_eq!(done[0], (0, Ended::Ok(Answer::Stored)));
        assert!(matches!(done[1], (1, Ended::Unknown(_))), "{done:?}");
        let (_, done) = receive(&mut redis, b":1\r\n");
        assert!(matches!(done[0], (2, Ended::Failed(_))), "{done:?}");
    }

    #[test]
    fn values_are_verified_and_may_come_in_pieces() {
        let mut redis = session(0, &[Kind::Write, Kind::Read, Kind::Read, Kind::Read]);
        let value = redis.queue.value.clone();
        assert!(value.is_empty(), "the last request was a read");
        let mut written = Vec::new();
        crate::value::write(&redis.queue.key.clone(), 1, 3, &mut written);
        let whole = [b"$3\r\n".as_slice(), &written, b"\r\n"].concat();
        assert_eq!(receive(&mut redis, b"+OK\r\n$3\r\n").0, 5);
        let (taken, done) = receive(&mut redis, &whole);
        assert_eq!((taken, &done[0]), (9, &(1, Ended::Ok(Answer::Hit))));
        redis.abandon(Ticket(2));
        assert_eq!(receive(&mut redis, b"$-1\r\n").1, []);
        let (_, done) = receive(&mut redis, b"$3\r\nxyz\r\n");
        assert_eq!(done, [(3, Ended::Ok(Answer::Corrupt))]);
    }
}
