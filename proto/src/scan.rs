//! A look at a request's bytes before they are decoded, so that no input makes the decoder (or
//! the checks, the apply loop, the drop) recurse past a known depth.
//!
//! Only transactions nest without end in the schema, and only groups (which no message uses, so
//! they are unknown fields) nest without end outside it. The walk is a loop over an explicit
//! stack; it descends only into fields that are messages.

use prost::encoding::decode_varint;

/// Nested messages beyond which a request is not decodable at all, as in the Go library.
pub const MESSAGE_DEPTH_MAX: usize = 10_000;

/// Nested transactions that are decoded; deeper ones are refused as having too many operations.
///
/// A chain of transactions needs an operation budget of at least its depth less one, so with the
/// default budget of 128 nothing beyond 129 levels can pass. This bound leaves room for larger
/// budgets and still fits a 2 MiB stack several times over.
pub const TXN_DEPTH_MAX: usize = 512;

/// Nested groups that are skipped as unknown fields; deeper ones are refused.
pub const GROUP_DEPTH_MAX: usize = 64;

/// Why a request is refused before decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not a well-formed message, or nested past every bound.
    Malformed,
    /// A transaction nested deeper than any operation budget allows.
    TooManyOps,
}

/// What is known about a message: which of its fields are messages to descend into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No field is a message.
    Leaf,
    /// Field 1, or fields 1 to `n`, are leaves.
    Leaves(u32),
    /// `AuthUserAddRequest` and `AuthRoleGrantPermissionRequest`: this one field is a leaf.
    LeafAt(u32),
    /// `TxnRequest`.
    Txn,
    /// `RequestOp`.
    Op,
    /// `raftpb.Message`.
    Raft,
    /// `raftpb.Snapshot`.
    RaftSnapshot,
}

impl Shape {
    /// The shape of the message in `field`, if it is one.
    pub(crate) fn child(self, field: u32) -> Option<Self> {
        match self {
            Self::Leaf => None,
            Self::Leaves(n) => (1..=n).contains(&field).then_some(Self::Leaf),
            Self::LeafAt(at) => (field == at).then_some(Self::Leaf),
            Self::Txn => match field {
                1 => Some(Self::Leaf),
                2 | 3 => Some(Self::Op),
                _ => None,
            },
            Self::Op => match field {
                1..=3 => Some(Self::Leaf),
                4 => Some(Self::Txn),
                _ => None,
            },
            Self::Raft => match field {
                7 => Some(Self::Leaf),
                9 => Some(Self::RaftSnapshot),
                _ => None,
            },
            Self::RaftSnapshot => (field == 2).then_some(Self::LeafAt(1)),
        }
    }
}

/// An open message or group of the walk.
enum Frame {
    /// A message of this shape that ends when this many bytes are left.
    Message { shape: Shape, left_at_end: usize },
    /// A group with this field number.
    Group { field: u32 },
}

/// Walks `bytes` as a message of `shape` and refuses what must not be decoded.
///
/// # Errors
/// [`Refusal::Malformed`] for bytes that are no message; [`Refusal::TooManyOps`] for well-formed
/// bytes whose transactions nest deeper than [`TXN_DEPTH_MAX`].
pub fn scan(bytes: &[u8], shape: Shape) -> Result<(), Refusal> {
    let mut rest = bytes;
    let mut frames = vec![];
    let mut current = Frame::Message { shape, left_at_end: 0 };
    let mut groups = 0;
    let mut too_many_ops = false;
    loop {
        if let Frame::Message { left_at_end, .. } = current
            && rest.len() <= left_at_end
        {
            if rest.len() < left_at_end {
                return Err(Refusal::Malformed);
            }
            match frames.pop() {
                Some(parent) => current = parent,
                None if too_many_ops => return Err(Refusal::TooManyOps),
                None => return Ok(()),
            }
            continue;
        }
        let (field, wire) = key(&mut rest)?;
        match wire {
            0 => {
                decode_varint(&mut rest).map_err(|_| Refusal::Malformed)?;
            }
            1 => skip(&mut rest, 8)?,
            5 => skip(&mut rest, 4)?,
            2 => {
                let len = decode_varint(&mut rest).map_err(|_| Refusal::Malformed)?;
                let len = usize::try_from(len).map_err(|_| Refusal::Malformed)?;
                if len > rest.len() {
                    return Err(Refusal::Malformed);
                }
                let child = match current {
                    Frame::Message { shape, .. } => shape.child(field),
                    Frame::Group { .. } => None,
                };
                match child {
                    Some(shape) => {
                        let left_at_end = rest.len() - len;
                        frames.push(std::mem::replace(
                            &mut current,
                            Frame::Message { shape, left_at_end },
                        ));
                        too_many_ops |= shape == Shape::Txn && frames.len() / 2 >= TXN_DEPTH_MAX;
                    }
                    None => skip(&mut rest, len)?,
                }
            }
            3 => {
                groups += 1;
                if groups > GROUP_DEPTH_MAX {
                    return Err(Refusal::Malformed);
                }
                frames.push(std::mem::replace(&mut current, Frame::Group { field }));
            }
            4 => match current {
                Frame::Group { field: open } if open == field => {
                    groups -= 1;
                    current = frames.pop().ok_or(Refusal::Malformed)?;
                }
                Frame::Group { .. } | Frame::Message { .. } => return Err(Refusal::Malformed),
            },
            _ => return Err(Refusal::Malformed),
        }
        if frames.len() >= MESSAGE_DEPTH_MAX {
            return Err(Refusal::Malformed);
        }
    }
}

/// Reads a field number and a wire type.
fn key(rest: &mut &[u8]) -> Result<(u32, u32), Refusal> {
    let key = decode_varint(rest).map_err(|_| Refusal::Malformed)?;
    let key = u32::try_from(key).map_err(|_| Refusal::Malformed)?;
    match key >> 3 {
        0 => Err(Refusal::Malformed),
        field => Ok((field, key & 7)),
    }
}

fn skip(rest: &mut &[u8], len: usize) -> Result<(), Refusal> {
    *rest = rest.get(len..).ok_or(Refusal::Malformed)?;
    Ok(())
}
