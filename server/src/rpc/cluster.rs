//! The Cluster service: who the members are.

use std::sync::Arc;

use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use proto::server::cluster_server;
use tonic::{Request, Response, Status};

use super::errors::{RpcError, not_served};
use super::header;
use super::node::Node;

/// Members.
pub(super) struct Cluster<N> {
    pub(super) node: Arc<N>,
}

const SERVICE: &str = "etcdserverpb.Cluster";

fn is_url_list(urls: &[String]) -> Result<(), Status> {
    match base::urls::normalize(urls) {
        Ok(_) => Ok(()),
        Err(_) => Err(RpcError::MemberBadURLs.into()),
    }
}

fn member(from: base::Member) -> Member {
    Member {
        id: from.id,
        name: from.name,
        peer_ur_ls: from.peer_urls,
        client_ur_ls: from.client_urls,
        is_learner: from.is_learner,
    }
}

#[tonic::async_trait]
impl<N: Node> cluster_server::Cluster for Cluster<N> {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        is_url_list(&request.get_ref().peer_ur_ls)?;
        Err(not_served(SERVICE, "MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(not_served(SERVICE, "MemberRemove"))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        is_url_list(&request.get_ref().peer_ur_ls)?;
        Err(not_served(SERVICE, "MemberUpdate"))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.node.barrier().await?;
        }
        let members = self.node.members().into_iter().map(member).collect();
        let header = header::without_revision(&*self.node);
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(not_served(SERVICE, "MemberPromote"))
    }
}
