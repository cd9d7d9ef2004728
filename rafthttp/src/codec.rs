//! Messages as bytes: the frames of both kinds of streams, and the body of a POST.
//!
//! ```text
//!   message stream   ├ len u64 ─┼ message ┤
//!   msgapp stream    ├ 00 ┤                                                 link heartbeat
//!                    ├ 01 ┼ count u64 ─┼ count × (len u64, entry) ┼ commit u64 ┤   continues
//!                    ├ 02 ┼ len u64 ─┼ message ┤                              starts afresh
//! ```
//!
//! All numbers are big endian. A stream starts with state (0, 0) on both sides.

mod decode;
mod encode;

use bytes::{Buf, Bytes};
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use proto::raftpb::{self, MessageType};
use proto::scan::{self, Shape};

pub(crate) use decode::{Decoded, Decoder};
pub(crate) use encode::{Encoder, message_frame};

/// Kinds of streams; each pair of members has one of each in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// Any message.
    Message,
    /// Appends only, in the shortened form.
    MsgApp,
}

impl StreamKind {
    /// As etcd's log lines name it.
    pub(crate) fn log_name(self) -> &'static str {
        match self {
            StreamKind::Message => "stream Message",
            StreamKind::MsgApp => "stream MsgApp v2",
        }
    }

    pub(crate) const ALL: [StreamKind; 2] = [StreamKind::Message, StreamKind::MsgApp];

    /// The path below which the stream is asked for.
    pub(crate) fn path(self) -> &'static str {
        match self {
            StreamKind::Message => "/raft/stream/message/",
            StreamKind::MsgApp => "/raft/stream/msgapp/",
        }
    }
}

/// Why received bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// A length beyond the bound; etcd's words.
    #[error("rafthttp: error limit exceeded")]
    TooLong,
    /// An unknown first byte of a frame on a msgapp stream.
    #[error("unknown frame type {0}")]
    FrameType(u8),
    /// Not the bytes of a message.
    #[error("malformed raft message")]
    Malformed,
}

/// Messages inside a message never leave a member of etcd; other implementations use the
/// number for something else.
const RESPONSES_FIELD: u32 = 14;

/// Decodes a message; entries keep slices of `bytes`. Field 14 is skipped whatever it holds.
pub(crate) fn decode_message(mut bytes: Bytes) -> Result<raftpb::Message, DecodeError> {
    scan::scan(&bytes, Shape::Raft).map_err(|_| DecodeError::Malformed)?;
    let mut message = raftpb::Message::default();
    let context = DecodeContext::default();
    while bytes.has_remaining() {
        let (field, wire) = decode_key(&mut bytes).map_err(|_| DecodeError::Malformed)?;
        let merged = if field == RESPONSES_FIELD {
            skip_field(wire, field, &mut bytes, context.clone())
        } else {
            message.merge_field(field, wire, &mut bytes, context.clone())
        };
        merged.map_err(|_| DecodeError::Malformed)?;
    }
    Ok(message)
}

fn decode_entry(bytes: Bytes) -> Result<raftpb::Entry, DecodeError> {
    scan::scan(&bytes, Shape::Leaf).map_err(|_| DecodeError::Malformed)?;
    raftpb::Entry::decode(bytes).map_err(|_| DecodeError::Malformed)
}

/// Whether messages of this type travel between members; others are local to one, or unknown.
pub(crate) fn travels(message: &raftpb::Message) -> bool {
    match MessageType::try_from(message.r#type.unwrap_or_default()) {
        Ok(
            MessageType::MsgProp
            | MessageType::MsgApp
            | MessageType::MsgAppResp
            | MessageType::MsgVote
            | MessageType::MsgVoteResp
            | MessageType::MsgSnap
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResp
            | MessageType::MsgTransferLeader
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp
            | MessageType::MsgPreVote
            | MessageType::MsgPreVoteResp,
        ) => true,
        Ok(
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
            | MessageType::MsgStorageAppend
            | MessageType::MsgStorageAppendResp
            | MessageType::MsgStorageApply
            | MessageType::MsgStorageApplyResp
            | MessageType::MsgForgetLeader,
        )
        | Err(_) => false,
    }
}

pub(crate) fn is(message: &raftpb::Message, kind: MessageType) -> bool {
    message.r#type == Some(kind as i32)
}

/// What a message holds in a queue, in bytes.
pub(crate) fn weight(message: &raftpb::Message) -> usize {
    let bytes = |data: &Option<Bytes>| data.as_ref().map_or(0, Bytes::len);
    let entries: usize =
        message.entries.iter().map(|e| size_of::<raftpb::Entry>() + bytes(&e.data)).sum();
    size_of::<raftpb::Message>() + entries + bytes(&message.context)
}

#[cfg(test)]
mod tests;
