//! Members and the raft configuration, in the JSON forms that rows, conf changes and peers carry.

use std::fmt::Write;

use proto::raftpb;
use serde::{Deserialize, Deserializer};

use crate::{Error, json};

/// One member of the cluster, as stored in bucket `members`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its id; see [`crate::ids::member_id`].
    pub id: u64,
    /// Where other members reach it.
    #[serde(rename = "peerURLs", deserialize_with = "null_is_empty")]
    pub peer_urls: Vec<String>,
    /// It does not vote.
    #[serde(rename = "isLearner")]
    pub is_learner: bool,
    /// Empty until the member has started and published itself.
    pub name: String,
    /// Where clients reach it; empty until published.
    #[serde(rename = "clientURLs", deserialize_with = "null_is_empty")]
    pub client_urls: Vec<String>,
}

/// The context of a conf change: the member it is about, and whether it promotes a learner.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct MemberChange {
    /// The member added or changed; a promotion names only its id.
    #[serde(flatten)]
    pub member: Member,
    /// The learner becomes a voter and keeps its other attributes.
    #[serde(rename = "isPromote")]
    pub is_promote: bool,
}

/// Go writes a missing list as `null`.
fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Member {
    /// The member's JSON.
    pub fn to_json(&self) -> String {
        let mut out = self.json_head();
        out.push('}');
        out
    }

    /// Reads a member's JSON.
    ///
    /// # Errors
    /// [`Error::Json`] when the bytes are not a member.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        parse("member", bytes)
    }

    /// The key of the member's row: its id in hex without padding.
    pub fn row_key(id: u64) -> String {
        format!("{id:x}")
    }

    fn json_head(&self) -> String {
        let mut out = String::with_capacity(128);
        write!(out, "{{\"id\":{},\"peerURLs\":", self.id).expect("a string takes any text");
        if self.peer_urls.is_empty() {
            out.push_str("null");
        } else {
            json::list(&self.peer_urls, &mut out, |url, out| json::string(url, out));
        }
        if self.is_learner {
            out.push_str(",\"isLearner\":true");
        }
        if !self.name.is_empty() {
            out.push_str(",\"name\":");
            json::string(&self.name, &mut out);
        }
        if !self.client_urls.is_empty() {
            out.push_str(",\"clientURLs\":");
            json::list(&self.client_urls, &mut out, |url, out| json::string(url, out));
        }
        out
    }
}

impl MemberChange {
    /// The context of a promotion.
    pub fn promote(id: u64) -> Self {
        Self { member: Member { id, ..Member::default() }, is_promote: true }
    }

    /// The context's JSON.
    pub fn to_json(&self) -> String {
        let mut out = self.member.json_head();
        if self.is_promote {
            out.push_str(",\"isPromote\":true");
        }
        out.push('}');
        out
    }

    /// Reads a context's JSON.
    ///
    /// # Errors
    /// [`Error::Json`] when the bytes are not such a context.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        parse("conf change context", bytes)
    }
}

/// The raft configuration, as stored under `confState` in bucket `meta`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ConfState {
    /// Ids of the voters.
    pub voters: Vec<u64>,
    /// Ids of the learners.
    pub learners: Vec<u64>,
    /// Voters of the configuration being left.
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners when the joint configuration is left.
    pub learners_next: Vec<u64>,
    /// The joint configuration is left without being asked.
    pub auto_leave: bool,
}

impl ConfState {
    /// A configuration of these voters only.
    pub fn of_voters(voters: Vec<u64>) -> Self {
        Self { voters, ..Self::default() }
    }

    /// The configuration's JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (name, ids) in [
            ("voters", &self.voters),
            ("learners", &self.learners),
            ("voters_outgoing", &self.voters_outgoing),
            ("learners_next", &self.learners_next),
        ] {
            if !ids.is_empty() {
                write!(out, "\"{name}\":").expect("a string takes any text");
                json::list(ids, &mut out, |id, out| out.push_str(&id.to_string()));
                out.push(',');
            }
        }
        write!(out, "\"auto_leave\":{}}}", self.auto_leave).expect("a string takes any text");
        out
    }

    /// Reads a configuration's JSON.
    ///
    /// # Errors
    /// [`Error::Json`] when the bytes are not a configuration.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        parse("conf state", bytes)
    }
}

impl From<raftpb::ConfState> for ConfState {
    fn from(from: raftpb::ConfState) -> Self {
        Self {
            auto_leave: from.auto_leave(),
            voters: from.voters,
            learners: from.learners,
            voters_outgoing: from.voters_outgoing,
            learners_next: from.learners_next,
        }
    }
}

impl From<ConfState> for raftpb::ConfState {
    fn from(from: ConfState) -> Self {
        Self {
            voters: from.voters,
            learners: from.learners,
            voters_outgoing: from.voters_outgoing,
            learners_next: from.learners_next,
            auto_leave: Some(from.auto_leave),
        }
    }
}

fn parse<'de, T: Deserialize<'de>>(what: &'static str, bytes: &'de [u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Json { what, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Member {
        Member {
            id: 10276657743932975437,
            peer_urls: vec!["http://localhost:2380".into()],
            is_learner: true,
            name: "default".into(),
            client_urls: vec!["http://localhost:2379".into(), "http://a:1".into()],
        }
    }

    #[test]
    fn members_have_the_known_json() {
        let json = r#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"#.to_owned()
            + r#""isLearner":true,"name":"default","#
            + r#""clientURLs":["http://localhost:2379","http://a:1"]}"#;
        assert_eq!(started().to_json(), json);
        assert_eq!(Member::from_json(json.as_bytes()), Ok(started()));
        let bare = Member { id: 1, ..Member::default() };
        assert_eq!(bare.to_json(), r#"{"id":1,"peerURLs":null}"#);
        assert_eq!(Member::from_json(bare.to_json().as_bytes()), Ok(bare));
    }

    #[test]
    fn names_are_escaped_as_go_escapes_them() {
        let member = Member { name: "<a>&\"\\\u{2028}\u{1}\n".into(), ..started() };
        let json = member.to_json();
        assert!(json.contains(r#""name":"\u003ca\u003e\u0026\"\\\u2028\u0001\n""#), "{json}");
        assert_eq!(Member::from_json(json.as_bytes()), Ok(member));
    }

    #[test]
    fn a_promotion_names_only_the_id() {
        let change = MemberChange::promote(2784938865021369072);
        let json = r#"{"id":2784938865021369072,"peerURLs":null,"isPromote":true}"#;
        assert_eq!(change.to_json(), json);
        assert_eq!(MemberChange::from_json(json.as_bytes()), Ok(change));
        let plain = MemberChange::from_json(started().to_json().as_bytes());
        assert_eq!(plain, Ok(MemberChange { member: started(), is_promote: false }));
    }

    #[test]
    fn conf_states_have_the_known_json() {
        let one = ConfState::of_voters(vec![10276657743932975437]);
        assert_eq!(one.to_json(), r#"{"voters":[10276657743932975437],"auto_leave":false}"#);
        let joint = ConfState {
            voters: vec![1, 2],
            learners: vec![3],
            voters_outgoing: vec![4],
            learners_next: vec![5],
            auto_leave: true,
        };
        assert_eq!(ConfState::from_json(joint.to_json().as_bytes()), Ok(joint.clone()));
        assert_eq!(ConfState::from(raftpb::ConfState::from(joint.clone())), joint);
        let empty = ConfState::default();
        assert_eq!(empty.to_json(), r#"{"auto_leave":false}"#);
    }

    #[test]
    fn other_json_is_refused() {
        let error = Member::from_json(b"{\"id\":\"x\"}").expect_err("an id is a number");
        assert!(matches!(error, Error::Json { what: "member", .. }), "{error}");
        assert!(ConfState::from_json(b"[").is_err());
    }
}
