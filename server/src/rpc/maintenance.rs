//! The Maintenance service: alarms, status, hashes and upkeep of one member.

use std::sync::Arc;

use apply::Reply;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse,
    StatusRequest, StatusResponse,
};
use proto::request::Kind;
use proto::server::maintenance_server;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::errors::{RpcError, not_served};
use super::header;
use super::kv::mismatched;
use super::node::{Applied, Node};

/// Upkeep of one member.
pub(super) struct Maintenance<N> {
    pub(super) node: Arc<N>,
}

const SERVICE: &str = "etcdserverpb.Maintenance";

/// What a status answer lists as errors: a missing leader, then each alarm.
fn errors(leader: u64, alarms: &[AlarmMember]) -> Vec<String> {
    let no_leader = (leader == 0).then(|| RpcError::NoLeader.text().to_owned());
    no_leader.into_iter().chain(alarms.iter().map(alarm_text)).collect()
}

/// `memberID:<decimal> alarm:<TYPE>`; a zero id is left out, an undefined type is its number.
fn alarm_text(alarm: &AlarmMember) -> String {
    let kind = match AlarmType::try_from(alarm.alarm) {
        Ok(kind) => kind.as_str_name().to_owned(),
        Err(_) => alarm.alarm.to_string(),
    };
    match alarm.member_id {
        0 => format!("alarm:{kind}"),
        id => format!("memberID:{id} alarm:{kind}"),
    }
}

#[tonic::async_trait]
impl<N: Node> maintenance_server::Maintenance for Maintenance<N> {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        match self.node.propose(Kind::Alarm, &request).await? {
            Applied { reply: Reply::Alarm(alarms), revision } => {
                let header = header::full(&*self.node, revision);
                Ok(Response::new(AlarmResponse { header, alarms }))
            }
            _ => Err(mismatched()),
        }
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let node = &*self.node;
        let facts = node.status();
        let leader = node.leader();
        let downgrade = facts.downgrade_target;
        Ok(Response::new(StatusResponse {
            header: header::current(node),
            version: base::version::SERVER.to_owned(),
            db_size: facts.db_bytes,
            leader,
            raft_index: facts.committed_index,
            raft_term: node.applied_term(),
            raft_applied_index: facts.applied_index,
            errors: errors(leader, &facts.alarms),
            db_size_in_use: facts.db_used_bytes,
            is_learner: node.is_learner(),
            storage_version: facts.storage_version,
            db_size_quota: facts.db_quota_bytes,
            downgrade_info: Some(DowngradeInfo {
                enabled: downgrade.is_some(),
                target_version: downgrade.unwrap_or_default(),
            }),
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.node.defragment().await?;
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let hash = self.node.hash().await?;
        Ok(Response::new(HashResponse { header: header::current(&*self.node), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let found = self.node.hash_kv(request.into_inner().revision).await?;
        Ok(Response::new(HashKvResponse {
            header: header::current(&*self.node),
            hash: found.hash,
            compact_revision: found.compact_revision,
            hash_revision: found.revision,
        }))
    }

    type SnapshotStream = ReceiverStream<Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Ok(Response::new(ReceiverStream::new(self.node.backup().await?)))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.node.move_leader(request.into_inner().target_id).await?;
        Ok(Response::new(MoveLeaderResponse { header: header::without_revision(&*self.node) }))
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(not_served(SERVICE, "Downgrade"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_errors_name_the_missing_leader_then_the_alarms() {
        let alarm = |member_id, alarm| AlarmMember { member_id, alarm };
        let alarms = [alarm(9, 1), alarm(0, 2), alarm(7, 5)];
        assert_eq!(
            errors(0, &alarms),
            [
                "etcdserver: no leader",
                "memberID:9 alarm:NOSPACE",
                "alarm:CORRUPT",
                "memberID:7 alarm:5",
            ]
        );
        assert_eq!(errors(1, &[]), Vec::<String>::new());
    }
}
