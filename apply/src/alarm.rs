//! The alarms: a set of (member, type) pairs, each a row without value.

use std::collections::BTreeSet;

use prost::Message;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType};

/// The raised alarms.
///
/// A type is kept as the number it came with: an undefined one is listed and cleared like any
/// other, and blocks nothing.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    // Type first, so that "is there any alarm of this type" is one step.
    raised: BTreeSet<(i32, u64)>,
}

/// What an alarm request did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AlarmChange {
    /// Nothing was stored or removed.
    None,
    /// The pair is new: its row is to be written.
    Raised(AlarmMember),
    /// The pair is gone: its row is to be removed.
    Cleared(AlarmMember),
}

impl Alarms {
    /// Whether any member has an alarm of this type.
    pub fn is_raised(&self, kind: AlarmType) -> bool {
        let kind = kind as i32;
        self.raised.range((kind, 0)..=(kind, u64::MAX)).next().is_some()
    }

    /// The alarms of one type, or all of them for `AlarmType::None`.
    pub fn list(&self, kind: i32) -> Vec<AlarmMember> {
        let all = kind == AlarmType::None as i32;
        let wanted = |pair: &&(i32, u64)| all || pair.0 == kind;
        self.raised
            .iter()
            .filter(wanted)
            .map(|&(alarm, member_id)| pair(member_id, alarm))
            .collect()
    }

    /// Whether no alarm is raised.
    pub fn is_empty(&self) -> bool {
        self.raised.is_empty()
    }

    /// Takes in a stored row.
    pub(crate) fn load(&mut self, key: &[u8]) -> Result<(), prost::DecodeError> {
        let alarm = AlarmMember::decode(key)?;
        self.raised.insert((alarm.alarm, alarm.member_id));
        Ok(())
    }

    /// Executes a request: the alarms to answer, and the row to change.
    ///
    /// An activation without type and an undefined action are answered with nothing.
    pub(crate) fn execute(&mut self, request: &AlarmRequest) -> (Vec<AlarmMember>, AlarmChange) {
        let asked = pair(request.member_id, request.alarm);
        let slot = (request.alarm, request.member_id);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => (self.list(request.alarm), AlarmChange::None),
            Ok(AlarmAction::Activate) if request.alarm == AlarmType::None as i32 => {
                (Vec::new(), AlarmChange::None)
            }
            Ok(AlarmAction::Activate) => {
                let is_new = self.raised.insert(slot);
                let change = if is_new { AlarmChange::Raised(asked) } else { AlarmChange::None };
                (vec![asked], change)
            }
            Ok(AlarmAction::Deactivate) => {
                if self.raised.remove(&slot) {
                    (vec![asked], AlarmChange::Cleared(asked))
                } else {
                    (Vec::new(), AlarmChange::None)
                }
            }
            Err(_undefined) => (Vec::new(), AlarmChange::None),
        }
    }
}

fn pair(member_id: u64, alarm: i32) -> AlarmMember {
    AlarmMember { member_id, alarm }
}
