//! The member as its transport sees it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

use proto::raftpb;
use rafthttp::{BoxFuture, ReceiveError, SnapshotBody, StepRefused};
use raftnode::StepError;

use super::images::ReceivedImages;
use crate::signals::End;
use crate::state::StatusBoard;

/// Hands what peers send to raft.
pub(crate) struct MemberHost {
    state: Arc<apply::State>,
    images: Arc<ReceivedImages>,
    board: Arc<StatusBoard>,
    end: SyncSender<End>,
    /// Raft starts after the transport: until then nothing is taken.
    raft: OnceLock<raftnode::Handle>,
}

impl MemberHost {
    /// For the member with this state; `end` is told if the others have removed it.
    pub(crate) fn new(
        state: Arc<apply::State>,
        images: Arc<ReceivedImages>,
        board: Arc<StatusBoard>,
        end: SyncSender<End>,
    ) -> MemberHost {
        MemberHost { state, images, board, end, raft: OnceLock::new() }
    }

    /// Raft has started.
    pub(crate) fn set_raft(&self, raft: raftnode::Handle) {
        self.raft.get_or_init(|| raft);
    }
}

/// Hands a message to raft.
fn step(raft: Option<&raftnode::Handle>, message: raftpb::Message) -> Result<(), StepRefused> {
    let Some(raft) = raft else { return Err(StepRefused::Full) };
    match raft.step(message) {
        Ok(()) => Ok(()),
        Err(StepError::Full | StepError::Stopped) => Err(StepRefused::Full),
        Err(error) => Err(StepRefused::Invalid(error.to_string())),
    }
}

impl rafthttp::Host for MemberHost {
    fn step(&self, message: raftpb::Message) -> Result<(), StepRefused> {
        step(self.raft.get(), message)
    }

    fn is_removed(&self, id: u64) -> bool {
        self.state.cluster.read().members.is_removed(id)
    }

    fn report_unreachable(&self, id: u64) {
        if let Some(raft) = self.raft.get() {
            raft.report_unreachable(id);
        }
    }

    fn report_snapshot(&self, id: u64, arrived: bool) {
        if let Some(raft) = self.raft.get() {
            raft.report_snapshot(id, arrived);
        }
    }

    fn removed_from_cluster(&self) {
        self.board.removed.store(true, Ordering::Release);
        // A full channel means that the server is stopping anyway.
        self.end.try_send(End::Removed).ok();
    }

    fn receive_snapshot(
        &self,
        message: raftpb::Message,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<(), ReceiveError>> {
        let (images, raft) = (self.images.clone(), self.raft.get().cloned());
        Box::pin(async move {
            let index = images.receive(&message, body, raft.as_ref()).await?;
            step(raft.as_ref(), message).map_err(|refused| {
                images.forget(index);
                ReceiveError::Process(refused.to_string())
            })
        })
    }
}
