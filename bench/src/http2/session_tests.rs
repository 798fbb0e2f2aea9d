//! The connection against a peer that does what the standard allows, and what it does not.

use std::time::Duration;

use super::*;
use crate::{
    http2::hpack,
    operation::{Cause, Kind},
    plan::Plan,
    service::Cache,
};

fn session() -> Http2<Cache> {
    Http2::new(
        Cache::new(&Plan::default()),
        "node:8080",
        Duration::from_secs(1),
    )
}

/// A session whose peer has told its settings, and that has nothing to send.
fn ready(settings: &[(u16, u32)]) -> Http2<Cache> {
    let mut session = session();
    let mut input = Vec::new();
    frame::write_settings(settings, &mut input);
    assert!(feed(&mut session, &input).is_empty());
    session.out().clear();
    session
}

fn feed(session: &mut Http2<Cache>, input: &[u8]) -> Vec<(u32, Ended)> {
    let mut done = Vec::new();
    assert_eq!(session.receive(input, &mut done), Ok(input.len()));
    done.into_iter()
        .map(|one| (one.ticket.0, one.ended))
        .collect()
}

fn write(session: &mut Http2<Cache>, ticket: u32) {
    let operation = Operation {
        kind: Kind::Write,
        key: 1,
        sequence: 1,
        value_bytes: 10,
    };
    session.start(Ticket(ticket), &operation);
}

/// What is to be sent: kind, flags and stream of each frame.
fn sent(session: &mut Http2<Cache>) -> Vec<(u8, u8, u32)> {
    let mut frames = Vec::new();
    let mut rest = session.out().as_slice();
    while let Some(head) = Head::parse(rest) {
        frames.push((head.kind, head.flags, head.stream));
        rest = &rest[frame::HEAD_BYTES + head.length..];
    }
    assert!(rest.is_empty());
    session.out().clear();
    frames
}

fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::encode(name, value, &mut block);
    }
    block
}

/// A whole answer to a write, as one stretch of bytes.
fn stored(stream: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let begin = headers(&[(":status", "200")]);
    frame::write(frame::HEADERS, frame::END_HEADERS, stream, &begin, &mut out);
    // A message with an empty version.
    frame::write(frame::DATA, 0, stream, &[0, 0, 0, 0, 2, 0x0a, 0], &mut out);
    let flags = frame::END_HEADERS | frame::END_STREAM;
    let end = headers(&[("grpc-status", "0")]);
    frame::write(frame::HEADERS, flags, stream, &end, &mut out);
    out
}

const OK: Ended = Ended::Ok(Answer::Stored);

#[test]
fn nothing_is_asked_before_the_peer_has_told_its_settings() {
    let mut session = session();
    assert_eq!(session.room(), 0);
    assert!(session.out().starts_with(frame::PREFACE));
    session.out().clear();
    let mut settings = Vec::new();
    frame::write_settings(&[(frame::SETTING_MAX_CONCURRENT_STREAMS, 2)], &mut settings);
    feed(&mut session, &settings);
    assert_eq!(sent(&mut session), [(frame::SETTINGS, frame::ACK, 0)]);
    assert_eq!(session.room(), 2);
    write(&mut session, 7);
    assert_eq!(session.room(), 1);
    assert_eq!(
        sent(&mut session),
        [
            (frame::HEADERS, frame::END_HEADERS, 1),
            (frame::DATA, frame::END_STREAM, 1)
        ]
    );
    assert_eq!(feed(&mut session, &stored(1)), [(7, OK)]);
    assert_eq!(session.room(), 2);
}

#[test]
fn answers_come_in_any_order_and_in_any_pieces() {
    let mut session = ready(&[]);
    for ticket in 0..3 {
        write(&mut session, ticket);
    }
    let answers = [stored(5), stored(1), stored(3)].concat();
    let (mut unread, mut done) = (Vec::new(), Vec::new());
    for byte in answers {
        unread.push(byte);
        let taken = session.receive(&unread, &mut done).unwrap();
        unread.drain(..taken);
    }
    let tickets: Vec<u32> = done.iter().map(|one| one.ticket.0).collect();
    assert_eq!(tickets, [2, 0, 1]);
    assert!(done.iter().all(|one| one.ended == OK));
}

#[test]
fn a_message_in_several_frames_and_a_continued_block_are_put_together() {
    let mut session = ready(&[]);
    write(&mut session, 0);
    let mut out = Vec::new();
    let begin = headers(&[(":status", "200"), ("x", "y")]);
    let (first, rest) = begin.split_at(5);
    frame::write(frame::HEADERS, 0, 1, first, &mut out);
    frame::write(frame::CONTINUATION, 0, 1, &rest[..3], &mut out);
    frame::write(
        frame::CONTINUATION,
        frame::END_HEADERS,
        1,
        &rest[3..],
        &mut out,
    );
    frame::write(frame::DATA, 0, 1, &[0, 0, 0], &mut out);
    frame::write(frame::DATA, frame::PADDED, 1, &[1, 0, 2, 0x0a, 9], &mut out);
    frame::write(frame::DATA, 0, 1, &[0], &mut out);
    let flags = frame::END_HEADERS | frame::END_STREAM;
    let end = headers(&[("grpc-status", "0")]);
    frame::write(frame::HEADERS, flags, 1, &end, &mut out);
    assert_eq!(feed(&mut session, &out), [(0, OK)]);
}

#[test]
fn failures_are_told_apart_by_where_they_come_from() {
    let mut session = ready(&[]);
    for ticket in 0..5 {
        write(&mut session, ticket);
    }
    let flags = frame::END_HEADERS | frame::END_STREAM;
    let mut out = Vec::new();
    let shed = headers(&[(":status", "200"), ("grpc-status", "8")]);
    frame::write(frame::HEADERS, flags, 1, &shed, &mut out);
    frame::write_number(frame::RST_STREAM, 3, 2, &mut out);
    let no_message = headers(&[(":status", "200"), ("grpc-status", "0")]);
    frame::write(frame::HEADERS, flags, 5, &no_message, &mut out);
    // The peer goes away, and has not looked at the last one.
    let mut away = 7_u32.to_be_bytes().to_vec();
    away.extend_from_slice(&[0; 4]);
    frame::write(frame::GOAWAY, 0, 0, &away, &mut out);
    assert_eq!(
        feed(&mut session, &out),
        [
            (0, Ended::Failed(Cause::new("RESOURCE_EXHAUSTED", "shed"))),
            (1, Ended::interrupted("reset")),
            (2, Ended::bad_answer()),
            (4, Ended::interrupted("goaway")),
        ]
    );
    assert!(session.is_closing() && session.room() == 0);
    assert_eq!(feed(&mut session, &stored(7)), [(3, OK)]);
}

#[test]
fn pings_are_answered_and_abandoned_streams_reset() {
    let mut session = ready(&[]);
    write(&mut session, 0);
    sent(&mut session);
    let mut out = Vec::new();
    frame::write(frame::PING, 0, 0, &[7; 8], &mut out);
    frame::write(frame::PING, frame::ACK, 0, &[7; 8], &mut out);
    feed(&mut session, &out);
    assert_eq!(sent(&mut session), [(frame::PING, frame::ACK, 0)]);
    session.abandon(Ticket(0));
    assert_eq!(sent(&mut session), [(frame::RST_STREAM, 0, 1)]);
    assert_eq!(
        feed(&mut session, &stored(1)),
        [],
        "a late answer is nobody's"
    );
}

#[test]
fn what_was_read_is_given_back_to_the_peer() {
    let mut session = ready(&[]);
    let payload = vec![0; frame::PAYLOAD_BYTES_MAX];
    let mut frames = 0;
    let mut out = Vec::new();
    frame::write(frame::DATA, 0, 1, &payload, &mut out);
    while sent(&mut session).is_empty() {
        feed(&mut session, &out);
        frames += 1;
    }
    assert_eq!(frames, WINDOW_BYTES as usize / 2 / frame::PAYLOAD_BYTES_MAX);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_left() {
    let broken = |kind: u8, payload: &[u8]| {
        let mut out = Vec::new();
        frame::write(kind, 0, 1, payload, &mut out);
        frame::write(frame::PING, 0, 0, &[0; 8], &mut out);
        ready(&[]).receive(&out, &mut Vec::new()).is_err()
    };
    assert!(broken(frame::HEADERS, &[]), "a block that is not continued");
    assert!(broken(frame::CONTINUATION, &[]));
    assert!(broken(frame::PUSH_PROMISE, &[]));
    assert!(broken(frame::SETTINGS, &[0; 5]));
    let mut huge = vec![0xff, 0xff, 0xff];
    huge.extend_from_slice(&[frame::DATA, 0, 0, 0, 0, 1]);
    assert!(ready(&[]).receive(&huge, &mut Vec::new()).is_err());
    let mut unknown = Vec::new();
    frame::write(0xbe, 0, 1, &[1, 2, 3], &mut unknown);
    assert!(feed(&mut ready(&[]), &unknown).is_empty(), "it is ignored");
}

proptest::proptest! {
    #[test]
    fn no_input_makes_it_panic(input in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let mut session = ready(&[]);
        write(&mut session, 0);
        drop(session.receive(&input, &mut Vec::new()));
    }
}
