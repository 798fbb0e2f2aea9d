//! The text protocol of memcached: `set` and `get`.

use super::line::{LINE_BYTES_MAX, Queue, VALUE_BYTES_MAX, block, line, number, put_number};
use crate::{
    operation::{Answer, Cause, Ended, Kind, Operation},
    plan::Plan,
    wire::{Broken, Completed, Session, Ticket},
};

const END: &[u8] = b"END\r\n";

/// One connection.
#[derive(Debug)]
pub(crate) struct Memcached {
    queue: Queue,
}

impl Memcached {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            queue: Queue::new(plan),
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
        if self.queue.front().is_none() {
            return Err(Broken::protocol("an answer to nothing"));
        }
        let ended = if text == b"STORED" {
            Ended::Ok(Answer::Stored)
        } else if text == b"END" {
            Ended::Ok(Answer::Miss)
        } else if let Some(head) = text.strip_prefix(b"VALUE ") {
            let length = head.rsplit(|byte| *byte == b' ').next().and_then(number);
            let length = length
                .and_then(|length| usize::try_from(length).ok())
                .filter(|length| *length <= VALUE_BYTES_MAX)
                .ok_or(Broken::protocol("a value without a length, or too large"))?;
            let Some((value, after)) = block(rest, length) else {
                return Ok(None);
            };
            let Some(end) = after.get(..END.len()) else {
                return Ok(None);
            };
            if end != END {
                return Err(Broken::protocol("a value without an end"));
            }
            rest = &after[END.len()..];
            self.queue.judge(value)
        } else {
            Ended::Failed(Cause::new("MEMCACHED", "error"))
        };
        self.queue.pop(ended, done);
        Ok(Some(rest))
    }
}

impl Session for Memcached {
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
            Kind::Read => {
                out.extend_from_slice(b"get ");
                out.extend_from_slice(key);
            }
            Kind::Write => {
                out.extend_from_slice(b"set ");
                out.extend_from_slice(key);
                out.extend_from_slice(b" 0 0 ");
                put_number(value.len(), out);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(value);
            }
        }
        out.extend_from_slice(b"\r\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_the_order_of_the_requests() {
        let mut session = Memcached::new(&Plan::default());
        let operation = |kind, value_bytes| Operation {
            kind,
            key: 1,
            sequence: 1,
            value_bytes,
        };
        session.start(Ticket(0), &operation(Kind::Write, 3));
        let mut written = Vec::new();
        crate::value::write(&session.queue.key.clone(), 1, 3, &mut written);
        let expected = [
            b"set bench-00000000000000000000000001 0 0 3\r\n".as_slice(),
            &written,
            b"\r\n",
        ];
        assert_eq!(*session.out(), expected.concat());
        for ticket in 1..4 {
            session.start(Ticket(ticket), &operation(Kind::Read, 0));
        }
        let answer = [
            b"STORED\r\nVALUE k 0 3\r\n".as_slice(),
            &written,
            b"\r\nEND\r\nEND\r\nVALUE k 0 3\r\nxyz\r\nEND",
        ];
        let mut done = Vec::new();
        let answer = answer.concat();
        let taken = session.receive(&answer, &mut done).unwrap();
        assert_eq!(answer.len() - taken, b"VALUE k 0 3\r\nxyz\r\nEND".len());
        session
            .receive(b"VALUE k 0 3\r\nxyz\r\nEND\r\n", &mut done)
            .unwrap();
        let ended: Vec<_> = done.into_iter().map(|one| one.ended).collect();
        let expected = [Answer::Stored, Answer::Hit, Answer::Miss, Answer::Corrupt];
        assert_eq!(ended, expected.map(Ended::Ok));
    }
}
