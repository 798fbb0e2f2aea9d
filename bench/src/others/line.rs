//! What redis and memcached have in common: answers come in the order of the requests, on lines, with values of a told
//! length after some of them.

use std::collections::VecDeque;

use crate::{
    operation::{Answer, Ended, Operation},
    plan::Plan,
    value::{self, Keys},
    wire::{Completed, Ticket},
};

/// Longest line that is taken, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// Largest value that is taken, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Requests in their order, and the keys and values in them.
#[derive(Debug)]
pub(super) struct Queue {
    requests: VecDeque<(Option<Ticket>, Operation)>,
    keys: Keys,
    verify: bool,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) out: Vec<u8>,
}

impl Queue {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            requests: VecDeque::new(),
            keys: plan.keys_format(),
            verify: plan.verify,
            key: Vec::new(),
            value: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Adds a request, whose key and value are then in `key` and `value`.
    pub(super) fn push(&mut self, ticket: Ticket, operation: &Operation) {
        self.requests.push_back((Some(ticket), *operation));
        self.key.clear();
        self.value.clear();
        self.keys.write(operation.key, &mut self.key);
        let bytes = operation.value_bytes as usize;
        value::write(&self.key, operation.sequence, bytes, &mut self.value);
    }

    /// Its answer is taken, but belongs to nobody.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        let mut all = self.requests.iter_mut();
        if let Some((abandoned, _)) = all.find(|(one, _)| *one == Some(ticket)) {
            *abandoned = None;
        }
    }

    /// The request whose answer is next.
    pub(super) fn front(&self) -> Option<&Operation> {
        self.requests.front().map(|(_, operation)| operation)
    }

    /// The answer to the next request has come.
    pub(super) fn pop(&mut self, ended: Ended, done: &mut Vec<Completed>) {
        if let Some((Some(ticket), _)) = self.requests.pop_front() {
            done.push(Completed { ticket, ended });
        }
    }

    /// What a value says that was found for the next request.
    pub(super) fn judge(&mut self, value: &[u8]) -> Ended {
        let Some((_, operation)) = self.requests.front() else {
            return Ended::bad_answer();
        };
        self.key.clear();
        self.keys.write(operation.key, &mut self.key);
        if !self.verify || value::verify(&self.key, value) {
            Ended::Ok(Answer::Hit)
        } else {
            Ended::Ok(Answer::Corrupt)
        }
    }
}

/// The line at the start of `bytes`, without its end, and what follows; `None` while it is not whole.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// A number in a line.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// So many bytes and a line end, and what follows; `None` while they are not whole.
pub(super) fn block(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let rest = bytes.get(length + 2..)?;
    Some((&bytes[..length], rest))
}

/// Appends a number as text.
pub(super) fn put_number(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
