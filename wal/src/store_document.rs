//! The JSON document inside a `.snap` file: the membership as etcd 3.5 and 3.6 look for it, in
//! the shape of a store that has seen one creation per member.

use base::{Member, json};
use std::fmt::Write;

/// Slots of the event history; readers count on all of them being there.
const EVENT_SLOTS: usize = 1000;

/// When a node of the store expires: never, as Go writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// One write to the store, in order.
struct Operation {
    action: &'static str,
    key: String,
    value: String,
}

/// Builds the document from the members, the ids of removed ones and the cluster version.
/// The same input gives the same bytes; etcd itself writes members in random order.
pub fn store_document(members: &[Member], removed: &[u64], version: Option<&str>) -> String {
    let operations = operations(members, removed, version);
    let count = operations.len();
    let creates = operations.iter().filter(|operation| operation.action == "create").count();
    let mut out = String::with_capacity(8192 + 512 * count);
    out.push_str("{\"Root\":");
    root(&operations, &mut out);
    out.push_str(",\"WatcherHub\":{\"EventHistory\":{\"Queue\":{\"Events\":[");
    for (i, operation) in operations.iter().enumerate().take(EVENT_SLOTS) {
        event(operation, i + 1, &mut out);
        out.push(',');
    }
    out.push_str(&"null,".repeat(EVENT_SLOTS.saturating_sub(count)));
    out.pop();
    write!(
        out,
        "],\"Size\":{count},\"Front\":0,\"Back\":{count},\"Capacity\":{EVENT_SLOTS}}},\
         \"StartIndex\":1,\"LastIndex\":{count}}}}},\"CurrentIndex\":{count},\
         \"Stats\":{{\"getsSuccess\":0,\"getsFail\":1,\"setsSuccess\":{},\"setsFail\":0,\
         \"deleteSuccess\":0,\"deleteFail\":0,\"updateSuccess\":0,\"updateFail\":0,\
         \"createSuccess\":{creates},\"createFail\":0,\"compareAndSwapSuccess\":0,\
         \"compareAndSwapFail\":0,\"compareAndDeleteSuccess\":0,\"compareAndDeleteFail\":0,\
         \"expireCount\":0,\"watchers\":0}},\"CurrentVersion\":2}}",
        count - creates
    )
    .expect("a string takes any text");
    out
}

fn operations(members: &[Member], removed: &[u64], version: Option<&str>) -> Vec<Operation> {
    let mut operations = Vec::new();
    for member in members {
        let key = format!("/0/members/{:x}", member.id);
        operations.push(Operation {
            action: "create",
            key: format!("{key}/raftAttributes"),
            value: raft_attributes(member),
        });
        if !member.client_urls.is_empty() {
            operations.push(Operation {
                action: "set",
                key: format!("{key}/attributes"),
                value: attributes(member),
            });
        }
    }
    for id in removed {
        let key = format!("/0/removed_members/{id:x}");
        operations.push(Operation { action: "create", key, value: String::new() });
    }
    if let Some(version) = version {
        let (key, value) = ("/0/version".to_owned(), version.to_owned());
        operations.push(Operation { action: "set", key, value });
    }
    operations
}

fn raft_attributes(member: &Member) -> String {
    let mut out = String::from("{\"peerURLs\":");
    json::list(&member.peer_urls, &mut out, |url, out| json::string(url, out));
    if member.is_learner {
        out.push_str(",\"isLearner\":true");
    }
    out.push('}');
    out
}

fn attributes(member: &Member) -> String {
    let mut out = String::from("{");
    if !member.name.is_empty() {
        out.push_str("\"name\":");
        json::string(&member.name, &mut out);
        out.push(',');
    }
    out.push_str("\"clientURLs\":");
    json::list(&member.client_urls, &mut out, |url, out| json::string(url, out));
    out.push('}');
    out
}

fn event(operation: &Operation, index: usize, out: &mut String) {
    out.push_str("{\"action\":");
    json::string(operation.action, out);
    out.push_str(",\"node\":{\"key\":");
    json::string(&operation.key, out);
    out.push_str(",\"value\":");
    json::string(&operation.value, out);
    write!(out, ",\"modifiedIndex\":{index},\"createdIndex\":{index}}}}}")
        .expect("a string takes any text");
}

/// A node of the tree; its name is the last part of its path.
struct Node<'a> {
    path: &'a str,
    index: usize,
    value: &'a str,
    is_dir: bool,
}

/// All nodes of the tree: leaves from the operations, and the directories above them, which carry
/// the index of the operation that made them.
fn nodes(operations: &[Operation]) -> Vec<Node<'_>> {
    let fixed = |path| Node { path, index: 0, value: "", is_dir: true };
    let mut nodes = vec![fixed("/0"), fixed("/1")];
    for (i, operation) in operations.iter().enumerate() {
        let (path, index) = (operation.key.as_str(), i + 1);
        for (end, _) in path.match_indices('/').skip(1) {
            let dir = path.get(..end).unwrap_or_default();
            if nodes.iter().all(|node| node.path != dir) {
                nodes.push(Node { path: dir, index, value: "", is_dir: true });
            }
        }
        nodes.push(Node { path, index, value: &operation.value, is_dir: false });
    }
    nodes.sort_by_key(|node| node.path);
    nodes
}

fn root(operations: &[Operation], out: &mut String) {
    let root = Node { path: "/", index: 0, value: "", is_dir: true };
    write_node(&root, "/", &nodes(operations), out);
}

/// Writes `node` and what is under it; `prefix` is its path with a slash at the end.
fn write_node(node: &Node<'_>, prefix: &str, all: &[Node<'_>], out: &mut String) {
    out.push_str("{\"Path\":");
    json::string(node.path, out);
    let index = node.index;
    write!(out, ",\"CreatedIndex\":{index},\"ModifiedIndex\":{index},\"ExpireTime\":\"{NEVER}\"")
        .expect("a string takes any text");
    out.push_str(",\"Value\":");
    json::string(node.value, out);
    if !node.is_dir {
        out.push_str(",\"Children\":null}");
        return;
    }
    out.push_str(",\"Children\":{");
    let mut first = true;
    for child in all {
        let Some(name) = child.path.strip_prefix(prefix) else { continue };
        if name.is_empty() || name.contains('/') {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        json::string(name, out);
        out.push(':');
        write_node(child, &format!("{}/", child.path), all, out);
    }
    out.push_str("}}");
}
