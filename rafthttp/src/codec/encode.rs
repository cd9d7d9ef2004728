//! Messages to frames.

use bytes::{BufMut, BytesMut};
use prost::Message as _;
use proto::raftpb::{self, MessageType};

use super::StreamKind;

/// The encoder of one stream.
#[derive(Debug)]
pub(crate) enum Encoder {
    Message,
    MsgApp {
        /// Term of the last message.
        term: u64,
        /// Index of the last entry that was sent.
        index: u64,
    },
}

impl Encoder {
    /// An encoder for a stream that has just opened.
    pub(crate) fn new(kind: StreamKind) -> Encoder {
        match kind {
            StreamKind::Message => Encoder::Message,
            StreamKind::MsgApp => Encoder::MsgApp { term: 0, index: 0 },
        }
    }

    /// Appends the frame of `message`, which on a msgapp stream is an append.
    pub(crate) fn encode(&mut self, message: &raftpb::Message, out: &mut BytesMut) {
        match self {
            Encoder::Message => message_frame(message, out),
            Encoder::MsgApp { term, index } => {
                let log_term = message.log_term.unwrap_or_default();
                let continues = *index == message.index.unwrap_or_default()
                    && *term == log_term
                    && log_term == message.term.unwrap_or_default();
                if continues {
                    continued(message, out);
                    *index += message.entries.len() as u64;
                } else {
                    out.put_u8(2);
                    message_frame(message, out);
                    (*term, *index) = state_after(message);
                }
            }
        }
    }

    /// Appends what tells the reader that the link is alive.
    pub(crate) fn heartbeat(&self, out: &mut BytesMut) {
        match self {
            Encoder::Message => message_frame(
                &raftpb::Message {
                    r#type: Some(MessageType::MsgHeartbeat as i32),
                    ..Default::default()
                },
                out,
            ),
            Encoder::MsgApp { .. } => out.put_u8(0),
        }
    }
}

/// Term and last index that a whole append leaves behind.
pub(super) fn state_after(message: &raftpb::Message) -> (u64, u64) {
    let index = message.entries.last().map_or(message.index, |e| e.index);
    (message.term.unwrap_or_default(), index.unwrap_or_default())
}

/// Appends a message behind its length.
pub(crate) fn message_frame(message: &raftpb::Message, out: &mut BytesMut) {
    let len = message.encoded_len();
    out.reserve(size_of::<u64>() + len);
    out.put_u64(len as u64);
    message.encode_raw(out);
}

fn continued(message: &raftpb::Message, out: &mut BytesMut) {
    out.put_u8(1);
    out.put_u64(message.entries.len() as u64);
    for entry in &message.entries {
        let len = entry.encoded_len();
        out.reserve(2 * size_of::<u64>() + len);
        out.put_u64(len as u64);
        entry.encode_raw(out);
    }
    out.put_u64(message.commit.unwrap_or_default());
}
