//! The Cluster service: who the members are.

use std::sync::Arc;

use proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use proto::server::cluster_server;
use tonic::{Request, Response, Status};

use super::errors::RpcError;
use super::header;
use super::node::Node;

/// Members.
pub(super) struct Cluster<N> {
    pub(super) node: Arc<N>,
}

/// etcd refuses bad URLs before it looks at anything else.
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

impl<N: Node> Cluster<N> {
    fn members(&self) -> Vec<Member> {
        self.node.members().into_iter().map(member).collect()
    }
}

#[tonic::async_trait]
impl<N: Node> cluster_server::Cluster for Cluster<N> {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let request = request.into_inner();
        is_url_list(&request.peer_ur_ls)?;
        let added = self.node.add_member(&request.peer_ur_ls, request.is_learner).await?;
        Ok(Response::new(MemberAddResponse {
            header: header::without_revision(&*self.node),
            member: Some(member(added)),
            members: self.members(),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.node.remove_member(request.into_inner().id).await?;
        let header = header::without_revision(&*self.node);
        Ok(Response::new(MemberRemoveResponse { header, members: self.members() }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        is_url_list(&request.peer_ur_ls)?;
        self.node.update_member(request.id, &request.peer_ur_ls).await?;
        let header = header::without_revision(&*self.node);
        Ok(Response::new(MemberUpdateResponse { header, members: self.members() }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.node.barrier().await?;
        }
        let header = header::without_revision(&*self.node);
        Ok(Response::new(MemberListResponse { header, members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.node.promote_member(request.into_inner().id).await?;
        let header = header::without_revision(&*self.node);
        Ok(Response::new(MemberPromoteResponse { header, members: self.members() }))
    }
}
