//! The messages of plain gRPC calls, by hand: one message in, one message or a status out, nothing compressed. For the
//! requests of which there are many; a general codec takes two buffers of 8 KiB and half a dozen boxes for each.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use prometheus_client::metrics::counter::Counter;
use prost::Message;
use tonic::Status;

use super::pieces::Pieces;

/// The flag that says whether a message is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_STATUS_OK: HeaderValue = HeaderValue::from_static("0");

/// Whether a request with these headers is one that this file can read.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let is_grpc = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == GRPC || kind == "application/grpc+proto");
    is_grpc && !headers.contains_key(GRPC_ENCODING)
}

/// Reads the only message of a call.
pub(super) async fn receive<M: Message + Default>(
    body: impl Body<Data = Bytes, Error = Status> + Unpin,
    bytes_max: usize,
) -> Result<M, Status> {
    let message = read(body, bytes_max).await?;
    M::decode(message).map_err(|malformed| Status::internal(malformed.to_string()))
}

async fn read(
    mut body: impl Body<Data = Bytes, Error = Status> + Unpin,
    bytes_max: usize,
) -> Result<Bytes, Status> {
    let mut received = next(&mut body).await?.unwrap_or_default();
    if received.len() >= PREFIX_BYTES && body.is_end_stream() {
        let length = length(&received, bytes_max)?;
        return whole(received, length);
    }
    let mut gathered = BytesMut::new();
    let mut expected = None;
    loop {
        // What follows the message is read and dropped: no call has a second one.
        let is_whole = expected.is_some_and(|length| gathered.len() >= PREFIX_BYTES + length);
        if !is_whole {
            gathered.extend_from_slice(&received);
        }
        if expected.is_none() && gathered.len() >= PREFIX_BYTES {
            expected = Some(length(&gathered, bytes_max)?);
        }
        match next(&mut body).await? {
            Some(more) => received = more,
            None => break,
        }
    }
    match expected {
        Some(length) => whole(gathered.freeze(), length),
        None if gathered.is_empty() => Err(Status::internal("Missing request message.")),
        None => Err(cut_short()),
    }
}

/// The next data of a body.
async fn next(
    body: &mut (impl Body<Data = Bytes, Error = Status> + Unpin),
) -> Result<Option<Bytes>, Status> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    return Ok(Some(data));
                }
            }
            None => return Ok(None),
        }
    }
}

fn length(received: &[u8], bytes_max: usize) -> Result<usize, Status> {
    let Some((&[flag, a, b, c, d], _)) = received.split_first_chunk() else {
        return Err(cut_short());
    };
    if flag != 0 {
        return Err(Status::internal(format!(
            "the message says that it is compressed (flag {flag}), the call does not say how"
        )));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > bytes_max {
        return Err(Status::out_of_range(format!(
            "the message has {length} bytes, the limit is {bytes_max} bytes"
        )));
    }
    Ok(length)
}

fn whole(mut received: Bytes, length: usize) -> Result<Bytes, Status> {
    if received.len() < PREFIX_BYTES + length {
        return Err(cut_short());
    }
    received.truncate(PREFIX_BYTES + length);
    Ok(received.split_off(PREFIX_BYTES))
}

fn cut_short() -> Status {
    Status::internal("the request ended before its message did")
}

/// The answer to a call.
pub(super) fn respond<M: Message>(
    answer: Result<M, Status>,
    bytes_sent: &Counter,
) -> Response<Pieces<Answer>> {
    let message = match answer {
        Ok(message) => message,
        Err(status) => {
            return status
                .into_http::<tonic::body::Body>()
                .map(|body| Pieces::of(Answer::General(body, None)));
        }
    };
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    // A message is far below 4 GiB: its value is bounded.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut bytes);
    bytes_sent.inc_by(bytes.len() as u64);
    let mut response = Response::new(Pieces::of(Answer::Message(bytes.freeze())));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// What is sent back.
pub(super) enum Answer {
    /// A message, and that all is well.
    Message(Bytes),
    /// That all is well.
    Well,
    /// Nothing more.
    Nothing,
    /// What another service says, and where its bytes are counted.
    General(tonic::body::Body, Option<Counter>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let (frame, rest) = match this {
            Self::Message(message) => (Frame::data(std::mem::take(message)), Self::Well),
            Self::Well => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, GRPC_STATUS_OK);
                (Frame::trailers(trailers), Self::Nothing)
            }
            Self::Nothing => return Poll::Ready(None),
            Self::General(body, bytes_sent) => {
                let polled = Pin::new(body).poll_frame(context);
                if let (Poll::Ready(Some(Ok(frame))), Some(sent)) = (&polled, bytes_sent)
                    && let Some(data) = frame.data_ref()
                {
                    sent.inc_by(data.len() as u64);
                }
                return polled;
            }
        };
        *this = rest;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(_) | Self::Well => false,
            Self::Nothing => true,
            Self::General(body, _) => body.is_end_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, future::Future, pin::pin, task::Waker};

    use proptest::prelude::*;
    use shard_cache_proto::cache::GetRequest;
    use tonic::Code;

    use super::*;

    const BYTES_MAX: usize = 64;

    struct Frames(VecDeque<Bytes>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|data| Ok(Frame::data(data))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn received(frames: impl IntoIterator<Item = Vec<u8>>) -> Result<GetRequest, Code> {
        let frames = Frames(frames.into_iter().map(Bytes::from).collect());
        let mut receive = pin!(receive(frames, BYTES_MAX));
        match receive
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(received) => received.map_err(|status| status.code()),
            Poll::Pending => unreachable!("all frames are there"),
        }
    }

    fn request() -> GetRequest {
        GetRequest {
            key: "key".to_owned(),
            explain: true,
            ..GetRequest::default()
        }
    }

    fn encoded(flag: u8) -> Vec<u8> {
        let message = request().encode_to_vec();
        let mut bytes = vec![flag];
        bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        bytes
    }

    proptest! {
        #[test]
        fn a_message_is_read_however_it_is_cut(cuts in prop::collection::vec(0usize..20, 0..6)) {
            let (mut rest, mut frames) = (encoded(0), Vec::new());
            for cut in cuts {
                let after = rest.split_off(cut.min(rest.len()));
                frames.push(std::mem::replace(&mut rest, after));
            }
            frames.push(rest);
            prop_assert_eq!(received(frames), Ok(request()));
        }

        #[test]
        fn junk_is_refused_without_a_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
            drop(received(frames));
        }
    }

    #[test]
    fn what_follows_the_message_is_left_alone() {
        assert_eq!(received([encoded(0), encoded(0)]), Ok(request()));
        assert_eq!(received([[encoded(0), encoded(0)].concat()]), Ok(request()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(received([]), Err(Code::Internal));
        assert_eq!(received([vec![0, 0]]), Err(Code::Internal));
        assert_eq!(received([encoded(1)]), Err(Code::Internal), "compressed");
        let mut short = encoded(0);
        short.pop();
        assert_eq!(received([short]), Err(Code::Internal));
        let huge = vec![0, 0, 0, 0, 65];
        assert_eq!(received([huge.clone()]), Err(Code::OutOfRange));
        assert_eq!(received([huge, vec![0; 65]]), Err(Code::OutOfRange));
    }

    #[test]
    fn only_uncompressed_protobuf_is_plain() {
        let headers = |pairs: &[(HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            pairs
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        assert!(is_plain(&headers(&[(CONTENT_TYPE, "application/grpc")])));
        assert!(is_plain(&headers(&[(
            CONTENT_TYPE,
            "application/grpc+proto"
        )])));
        assert!(!is_plain(&headers(&[(
            CONTENT_TYPE,
            "application/grpc-web"
        )])));
        assert!(!is_plain(&headers(&[])));
        let compressed = [(CONTENT_TYPE, "application/grpc"), (GRPC_ENCODING, "gzip")];
        assert!(!is_plain(&headers(&compressed)));
    }

    #[test]
    fn an_answer_is_one_message_and_then_its_status() {
        let sent = Counter::default();
        let response = respond(Ok(request()), &sent);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        let mut body = pin!(response.into_body());
        let mut context = Context::from_waker(Waker::noop());
        let mut next = || body.as_mut().poll_frame(&mut context);
        let Poll::Ready(Some(Ok(message))) = next() else {
            unreachable!("a message comes first");
        };
        assert_eq!(message.into_data().unwrap(), encoded(0));
        let Poll::Ready(Some(Ok(trailers))) = next() else {
            unreachable!("then come trailers");
        };
        assert_eq!(trailers.into_trailers().unwrap()[GRPC_STATUS], "0");
        assert!(matches!(next(), Poll::Ready(None)));
    }

    #[test]
    fn a_refusal_has_no_message() {
        let response =
            respond::<GetRequest>(Err(Status::unavailable("no_quorum")), &Counter::default());
        assert_eq!(response.headers()[GRPC_STATUS], "14");
        assert!(response.body().is_end_stream());
    }
}
