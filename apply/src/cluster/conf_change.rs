//! The content of a configuration change entry.

use base::{Member, MemberChange};
use prost::Message;
use proto::raftpb::{ConfChange, ConfChangeType, ConfChangeV2};

/// A change of the member list as asked for; not yet validated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// A new member, voter or learner by its own mark.
    Add(Member),
    /// A learner becomes a voter; all else about it stays.
    Promote(u64),
    /// New peer URLs; all else about the member stays.
    Update(Member),
    /// The member leaves for good.
    Remove(u64),
}

impl Change {
    /// The member it is about.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Add(member) | Self::Update(member) => member.id,
            Self::Promote(id) | Self::Remove(id) => *id,
        }
    }
}

/// Decodes a V1 change: the id under which its proposer waits, and the change.
pub(crate) fn decode_conf_change(data: &[u8]) -> Result<(u64, Change), String> {
    let cc = ConfChange::decode(data).map_err(text)?;
    let change = meaning(cc.r#type.unwrap_or(0), cc.node_id(), cc.context())?;
    Ok((cc.id(), change))
}

/// Decodes a V2 change. Only the single simple change is meaningful; an empty one leaves a joint
/// configuration that this cluster never enters, so it means nothing.
pub(crate) fn decode_conf_change_v2(data: &[u8]) -> Result<Option<Change>, String> {
    let cc = ConfChangeV2::decode(data).map_err(text)?;
    match cc.changes.as_slice() {
        [] => Ok(None),
        [one] => meaning(one.r#type.unwrap_or(0), one.node_id(), cc.context()).map(Some),
        many => Err(format!("{} changes in one joint configuration change", many.len())),
    }
}

fn meaning(kind: i32, node_id: u64, context: &[u8]) -> Result<Change, String> {
    let kind = ConfChangeType::try_from(kind)
        .map_err(|_unknown| format!("configuration change of type {kind}"))?;
    match kind {
        ConfChangeType::ConfChangeAddNode => {
            let change = MemberChange::from_json(context).map_err(text)?;
            if change.is_promote {
                return Ok(Change::Promote(node_id));
            }
            member(node_id, change.member, false).map(Change::Add)
        }
        ConfChangeType::ConfChangeAddLearnerNode => {
            member(node_id, Member::from_json(context).map_err(text)?, true).map(Change::Add)
        }
        ConfChangeType::ConfChangeUpdateNode => {
            member(node_id, Member::from_json(context).map_err(text)?, false).map(Change::Update)
        }
        ConfChangeType::ConfChangeRemoveNode => Ok(Change::Remove(node_id)),
    }
}

/// The member of a context, which must be the one the change is about.
///
/// Raft decides by the type of the change whether it votes; the mark in the context follows it.
fn member(node_id: u64, mut member: Member, is_learner: bool) -> Result<Member, String> {
    if member.id != node_id {
        return Err(format!("change of member {node_id:x} describes {:x}", member.id));
    }
    member.is_learner = is_learner;
    Ok(member)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
