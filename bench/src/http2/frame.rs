//! Frames of HTTP/2 (RFC 9113): their heads read, and the few kinds that a client sends written.

/// What every connection begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Size of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;
/// Largest payload that may be sent to us: we never ask for more than the standard's least.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// On DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
/// On SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

pub(super) const SETTING_HEADER_TABLE_SIZE: u16 = 1;
pub(super) const SETTING_ENABLE_PUSH: u16 = 2;
pub(super) const SETTING_MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const SETTING_MAX_FRAME_SIZE: u16 = 5;

/// Error code: the stream is no longer wanted.
pub(super) const CANCEL: u32 = 8;

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// The head at the start of `bytes`, once it is there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        Some(Self {
            length: u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        })
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) const fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let length = (self.length as u32).to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [
            length[1], length[2], length[3], self.kind, self.flags, stream[0], stream[1],
            stream[2], stream[3],
        ]
    }

    /// Appends it.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }
}

/// Appends a frame with a payload that fits one.
pub(super) fn write(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let head = Head {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    head.write(out);
    out.extend_from_slice(payload);
}

/// Appends a SETTINGS frame.
pub(super) fn write_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    write(SETTINGS, 0, 0, &payload, out);
}

/// Appends a frame whose payload is one number: WINDOW_UPDATE or RST_STREAM.
pub(super) fn write_number(kind: u8, stream: u32, number: u32, out: &mut Vec<u8>) {
    write(kind, 0, stream, &number.to_be_bytes(), out);
}

/// The number at the start of a payload.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    payload
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// The settings of a payload, if it is one.
pub(super) fn settings(payload: &[u8]) -> Option<impl Iterator<Item = (u16, u32)> + '_> {
    payload.len().is_multiple_of(6).then(|| {
        payload.chunks_exact(6).map(|one| {
            let name = u16::from_be_bytes([one[0], one[1]]);
            (name, u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
        })
    })
}

/// The payload without padding and priority, if those fit it.
pub(super) fn content(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let (mut from, mut to) = (0, payload.len());
    if head.has(PADDED) {
        to = to.checked_sub(usize::from(*payload.first()?))?;
        from += 1;
    }
    if head.kind == HEADERS && head.has(PRIORITY) {
        from += 5;
    }
    payload.get(from..to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head {
            length: 0x01_02_03,
            kind: HEADERS,
            flags: END_HEADERS | END_STREAM,
            stream: 0x7fff_ffff,
        };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        assert_eq!(bytes.len(), HEAD_BYTES);
        assert_eq!(Head::parse(&bytes), Some(head));
        assert_eq!(Head::parse(&bytes[..8]), None);
        bytes[5] |= 0x80;
        assert_eq!(
            Head::parse(&bytes),
            Some(head),
            "the reserved bit is ignored"
        );
    }

    #[test]
    fn padding_and_priority_are_cut_off_and_must_fit() {
        let head = |flags| Head {
            length: 0,
            kind: HEADERS,
            flags,
            stream: 1,
        };
        let payload = [2, 0, 0, 0, 0, 9, b'x', b'y', 0, 0];
        assert_eq!(content(head(PADDED | PRIORITY), &payload), Some(&b"xy"[..]));
        assert_eq!(content(head(0), &payload), Some(&payload[..]));
        assert_eq!(content(head(PADDED), &[9, 0]), None);
        assert_eq!(content(head(PADDED), &[]), None);
    }

    #[test]
    fn settings_come_in_sixes() {
        let mut bytes = Vec::new();
        write_settings(&[(4, 65_535), (2, 0)], &mut bytes);
        let payload = &bytes[HEAD_BYTES..];
        let read: Vec<_> = settings(payload).unwrap().collect();
        assert_eq!(read, [(4, 65_535), (2, 0)]);
        assert!(settings(&payload[1..]).is_none());
    }
}
