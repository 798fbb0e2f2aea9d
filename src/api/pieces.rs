//! Answers in pieces that `h2` copies behind what is waiting, so that many go out in one write; see [`super::socket`].

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes of a piece: with its header below the 1024 that `h2` copies.
const PIECE_BYTES_MAX: usize = 1000;

/// A body whose data comes in pieces.
#[derive(Debug)]
pub(super) struct Pieces<B> {
    body: B,
    /// What is left of the frame that was cut.
    rest: Bytes,
}

impl<B> Pieces<B> {
    pub(super) const fn of(body: B) -> Self {
        Self {
            body,
            rest: Bytes::new(),
        }
    }

    /// The next piece of what is left.
    fn cut(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        Frame::data(self.rest.split_to(length))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.cut())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)?) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) if data.len() > PIECE_BYTES_MAX => {
                self.rest = data;
                self.cut()
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, pin::pin, task::Waker};

    use http::HeaderMap;

    use super::*;

    struct Frames(VecDeque<Frame<Bytes>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    #[test]
    fn the_bytes_and_the_trailers_arrive_in_order_in_pieces() {
        let data: Bytes = (0..2500u32).map(|at| (at % 251) as u8).collect();
        let frames = [
            Frame::data(data.clone()),
            Frame::data(Bytes::from_static(b"end")),
            Frame::trailers(HeaderMap::new()),
        ];
        let mut body = pin!(Pieces::of(Frames(frames.into())));
        let mut context = Context::from_waker(Waker::noop());
        let (mut lengths, mut received, mut trailers) = (Vec::new(), Vec::new(), 0);
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut context) {
            assert_eq!(trailers, 0, "trailers come last");
            match frame.into_data() {
                Ok(piece) => {
                    lengths.push(piece.len());
                    received.extend_from_slice(&piece);
                }
                Err(_trailers) => trailers += 1,
            }
        }
        assert_eq!(lengths, [1000, 1000, 500, 3]);
        assert_eq!(received, [&data[..], b"end"].concat());
        assert_eq!(trailers, 1);
        assert!(body.is_end_stream());
    }
}
