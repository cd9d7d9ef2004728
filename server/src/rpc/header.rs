//! Headers of answers.

use proto::etcdserverpb::ResponseHeader;

use super::node::Board;

/// A full header with this revision.
pub(super) fn full(board: &impl Board, revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: board.cluster_id(),
        member_id: board.member_id(),
        revision,
        raft_term: board.applied_term(),
    })
}

/// A full header with the newest revision.
pub(super) fn current(board: &impl Board) -> Option<ResponseHeader> {
    full(board, board.revision())
}

/// A header without revision, as the answers about members have it.
pub(super) fn without_revision(board: &impl Board) -> Option<ResponseHeader> {
    full(board, 0)
}
