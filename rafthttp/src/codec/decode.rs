//! Frames to messages, from chunks that end anywhere.

use bytes::{Buf, Bytes, BytesMut};
use proto::raftpb::{self, MessageType};

use super::encode::state_after;
use super::{DecodeError, StreamKind, decode_entry, decode_message};
use crate::limits::{FRAME_BYTES_MAX, GATHER_AHEAD_BYTES};

/// What a frame holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// The link is alive.
    Heartbeat {
        /// Of its frame.
        bytes: usize,
    },
    /// A message.
    Message(Box<raftpb::Message>),
}

/// The decoder of one stream. Memory grows with the bytes that arrive, never with a length
/// that was only announced.
#[derive(Debug)]
pub(crate) struct Decoder {
    received: Received,
    form: Form,
    /// The sender and this member, for messages that travel without them.
    from: u64,
    to: u64,
}

#[derive(Debug)]
enum Form {
    Message,
    MsgApp { term: u64, index: u64, open: Option<Continued> },
}

/// A frame of the short form that has not arrived whole.
#[derive(Debug)]
struct Continued {
    entries_left: u64,
    entries: Vec<raftpb::Entry>,
    /// What they hold in memory.
    bytes: usize,
}

impl Decoder {
    /// A decoder for a stream that has just opened, from member `from` to member `to`.
    pub(crate) fn new(kind: StreamKind, from: u64, to: u64) -> Decoder {
        let form = match kind {
            StreamKind::Message => Form::Message,
            StreamKind::MsgApp => Form::MsgApp { term: 0, index: 0, open: None },
        };
        Decoder { received: Received::default(), form, from, to }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.received.push(chunk);
    }

    /// The next frame, if it has arrived whole.
    ///
    /// # Errors
    /// [`DecodeError`]; nothing after it can be trusted.
    pub(crate) fn next(&mut self) -> Result<Option<Decoded>, DecodeError> {
        match &mut self.form {
            Form::Message => {
                let Some(bytes) = self.received.frame(0)? else { return Ok(None) };
                let len = size_of::<u64>() + bytes.len();
                let message = decode_message(bytes)?;
                let heartbeat = super::is(&message, MessageType::MsgHeartbeat)
                    && message.from.unwrap_or_default() == 0
                    && message.to.unwrap_or_default() == 0;
                if heartbeat {
                    return Ok(Some(Decoded::Heartbeat { bytes: len }));
                }
                Ok(Some(Decoded::Message(Box::new(message))))
            }
            Form::MsgApp { term, index, open } => {
                if open.is_none() {
                    match self.received.first() {
                        None => return Ok(None),
                        Some(0) => {
                            self.received.skip(1);
                            return Ok(Some(Decoded::Heartbeat { bytes: 1 }));
                        }
                        Some(1) => match self.received.number(1) {
                            None => return Ok(None),
                            Some(count) => {
                                self.received.skip(1 + size_of::<u64>());
                                let entries = Vec::new();
                                *open = Some(Continued { entries_left: count, entries, bytes: 0 });
                            }
                        },
                        Some(2) => {
                            let Some(bytes) = self.received.frame(1)? else { return Ok(None) };
                            let message = decode_message(bytes)?;
                            (*term, *index) = state_after(&message);
                            return Ok(Some(Decoded::Message(Box::new(message))));
                        }
                        Some(other) => return Err(DecodeError::FrameType(other)),
                    }
                }
                let Some(frame) = open else { return Ok(None) };
                let Some(commit) = frame.fill(&mut self.received)? else { return Ok(None) };
                let entries = std::mem::take(&mut frame.entries);
                *open = None;
                let before = *index;
                *index = index.wrapping_add(entries.len() as u64);
                Ok(Some(Decoded::Message(Box::new(raftpb::Message {
                    r#type: Some(MessageType::MsgApp as i32),
                    to: Some(self.to),
                    from: Some(self.from),
                    term: Some(*term),
                    log_term: Some(*term),
                    index: Some(before),
                    entries,
                    commit: Some(commit),
                    ..Default::default()
                }))))
            }
        }
    }
}

impl Continued {
    /// Takes the entries that have arrived; the commit index once all is there.
    fn fill(&mut self, received: &mut Received) -> Result<Option<u64>, DecodeError> {
        while self.entries_left > 0 {
            let Some(bytes) = received.frame(0)? else { return Ok(None) };
            self.bytes += bytes.len() + size_of::<raftpb::Entry>();
            if self.bytes > FRAME_BYTES_MAX {
                return Err(DecodeError::TooLong);
            }
            self.entries.push(decode_entry(bytes)?);
            self.entries_left -= 1;
        }
        let commit = received.number(0);
        if commit.is_some() {
            received.skip(size_of::<u64>());
        }
        Ok(commit)
    }
}

/// Received bytes that were not decoded yet. A frame inside one chunk is a slice of it; one
/// that spans chunks is gathered by copying it once.
#[derive(Debug, Default)]
struct Received {
    /// Read before `gathered`; one of the two is empty.
    chunk: Bytes,
    gathered: BytesMut,
    /// What the frame that is being received will have in all, as announced.
    announced: usize,
}

impl Received {
    fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() && self.gathered.is_empty() {
            self.gathered = BytesMut::new();
            self.chunk = chunk;
            return;
        }
        // Room for the whole frame at once, unless that is more than what has arrived vouches
        // for: a frame that is kept should not keep twice its size.
        let arrived = self.bytes().len() + chunk.len();
        let vouched = arrived.max(GATHER_AHEAD_BYTES).saturating_mul(2);
        let wanted = self.announced.min(vouched).max(arrived);
        self.gathered.reserve(wanted - self.gathered.len());
        if !self.chunk.is_empty() {
            self.gathered.extend_from_slice(&std::mem::take(&mut self.chunk));
        }
        self.gathered.extend_from_slice(&chunk);
    }

    fn bytes(&self) -> &[u8] {
        if self.chunk.is_empty() { &self.gathered } else { &self.chunk }
    }

    fn first(&self) -> Option<u8> {
        self.bytes().first().copied()
    }

    /// The number that starts at this place.
    fn number(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes().get(at..at + size_of::<u64>())?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    fn skip(&mut self, len: usize) {
        if self.chunk.is_empty() { self.gathered.advance(len) } else { self.chunk.advance(len) }
    }

    /// Takes the bytes behind a length that starts at this place, if they are all there.
    fn frame(&mut self, at: usize) -> Result<Option<Bytes>, DecodeError> {
        let Some(len) = self.number(at) else { return Ok(None) };
        let len = usize::try_from(len).ok().filter(|len| *len <= FRAME_BYTES_MAX);
        let len = len.ok_or(DecodeError::TooLong)?;
        let head = at + size_of::<u64>();
        self.announced = 0;
        if self.bytes().len() < head + len {
            self.announced = head + len;
            return Ok(None);
        }
        self.skip(head);
        Ok(Some(if self.chunk.is_empty() {
            self.gathered.split_to(len).freeze()
        } else {
            self.chunk.split_to(len)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut as _;

    /// Receives a frame of this size in chunks and gives the capacity it was gathered in.
    fn capacity(len: usize, chunk: usize) -> usize {
        let mut bytes = BytesMut::new();
        bytes.put_u64(len as u64);
        bytes.resize(len + size_of::<u64>(), 7);
        let mut bytes = bytes.freeze();
        let mut received = Received::default();
        loop {
            received.push(bytes.split_to(chunk.min(bytes.len())));
            let capacity = received.gathered.capacity();
            if let Some(frame) = received.frame(0).expect("a good length") {
                assert_eq!(frame.len(), len);
                return capacity;
            }
        }
    }

    #[test]
    fn a_gathered_frame_keeps_little_more_than_its_size() {
        for len in [100_000, 1 << 20, 2_000_000] {
            let capacity = capacity(len, 16 << 10);
            assert!(capacity <= len + len / 8, "{len}: {capacity}");
        }
        assert!(capacity(20 << 20, 16 << 10) <= 40 << 20, "at most twice what has arrived");
    }

    #[test]
    fn a_length_that_lies_allocates_little() {
        let mut received = Received::default();
        for chunk in [&(FRAME_BYTES_MAX as u64).to_be_bytes()[..], b"x", b"y"] {
            received.push(Bytes::copy_from_slice(chunk));
            assert_eq!(received.frame(0), Ok(None));
        }
        assert!(received.gathered.capacity() <= 2 * GATHER_AHEAD_BYTES + 100);
    }
}
