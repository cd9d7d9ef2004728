//! `lease grant|revoke|timetolive|list|keep-alive`.

use std::time::Duration;

use proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::cli::{Parsed, go_int};
use crate::failure::{Failure, code};
use crate::output;
use crate::print::{Format, Reply, lease_name};
use crate::session::{self, Deadline, Session};

/// A lease is renewed when a third of its time has passed.
const RENEWALS_PER_TTL: u32 = 3;
/// Pause before a broken keep-alive stream is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// Runs `lease grant`.
pub(super) async fn grant(parsed: Parsed) -> Result<(), Failure> {
    let [ttl] = parsed.arguments.as_slice() else {
        return Err(Failure::arguments("lease grant command needs TTL argument"));
    };
    let ttl = go_int(&String::from_utf8_lossy(ttl), 10)
        .map_err(|reason| Failure::arguments(format!("bad TTL ({reason})")))?;
    let session = super::open(parsed).await?;
    let request = pb::LeaseGrantRequest { ttl, id: 0 };
    let response: pb::LeaseGrantResponse = session
        .unary("/etcdserverpb.Lease/LeaseGrant", session.deadline(), request)
        .await
        .map_err(|failure| failure.wrapped(|text| format!("failed to grant lease ({text})")))?;
    output::print(session.settings().style, &Reply::Grant(&response))
}

/// Runs `lease revoke`.
pub(super) async fn revoke(parsed: Parsed) -> Result<(), Failure> {
    let id = lease_id(&parsed, "lease revoke command needs 1 argument")?;
    let session = super::open(parsed).await?;
    let request = pb::LeaseRevokeRequest { id };
    let response: pb::LeaseRevokeResponse = session
        .unary("/etcdserverpb.Lease/LeaseRevoke", session.deadline(), request)
        .await
        .map_err(|failure| failure.wrapped(|text| format!("failed to revoke lease ({text})")))?;
    output::print(session.settings().style, &Reply::Revoke { id, response: &response })
}

/// Runs `lease timetolive`.
pub(super) async fn time_to_live(parsed: Parsed) -> Result<(), Failure> {
    let id = lease_id(&parsed, "lease timetolive command needs lease ID as argument")?;
    let keys = parsed.switch("keys");
    let session = super::open(parsed).await?;
    let request = pb::LeaseTimeToLiveRequest { id, keys };
    let response: pb::LeaseTimeToLiveResponse = session
        .unary("/etcdserverpb.Lease/LeaseTimeToLive", Deadline::NEVER, request)
        .await
        .map_err(|failure| failure.with_code(code::BAD_CONNECTION))?;
    output::print(session.settings().style, &Reply::TimeToLive { response: &response, keys })
}

/// Runs `lease list`.
pub(super) async fn list(parsed: Parsed) -> Result<(), Failure> {
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.Lease/LeaseLeases";
    let response: pb::LeaseLeasesResponse = session
        .unary(method, Deadline::NEVER, pb::LeaseLeasesRequest {})
        .await
        .map_err(|failure| failure.with_code(code::BAD_CONNECTION))?;
    output::print(session.settings().style, &Reply::Leases(&response))
}

/// Runs `lease keep-alive`.
pub(super) async fn keep_alive(parsed: Parsed) -> Result<(), Failure> {
    let id = lease_id(&parsed, "lease keep-alive command needs lease ID as argument")?;
    let once = parsed.switch("once");
    let session = super::open(parsed).await?;
    if once {
        return renew_once(&session, id).await;
    }
    let style = session.settings().style;
    loop {
        if let Ok(mut renewals) = Renewals::open(&session, id).await {
            while let Ok(Some(response)) = renewals.next().await {
                if response.ttl <= 0 {
                    if style.format == Format::Simple {
                        let line = format!("lease {} expired or revoked.\n", lease_name(id));
                        output::write(line.as_bytes())?;
                    }
                    return Ok(());
                }
                output::print(style, &Reply::KeepAlive(&response))?;
                let ttl = Duration::from_secs(u64::try_from(response.ttl).unwrap_or(0));
                tokio::time::sleep(ttl / RENEWALS_PER_TTL).await;
                if renewals.send().await.is_err() {
                    break;
                }
            }
        }
        session.disconnect().await;
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

async fn renew_once(session: &Session, id: i64) -> Result<(), Failure> {
    let failed = |text: &str| Failure::new(code::BAD_CONNECTION, text);
    let mut renewals = Renewals::open(session, id).await.map_err(|f| failed(f.text()))?;
    let response = match renewals.next().await {
        Ok(Some(response)) => response,
        Ok(None) => return Err(failed("EOF")),
        Err(failure) => return Err(failed(failure.text())),
    };
    if response.ttl <= 0 {
        return Err(failed("etcdserver: requested lease not found"));
    }
    output::print(session.settings().style, &Reply::KeepAlive(&response))
}

/// The keep-alive stream of one lease.
struct Renewals {
    id: i64,
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    answers: Streaming<pb::LeaseKeepAliveResponse>,
}

impl Renewals {
    /// Opens the stream and sends the first renewal.
    async fn open(session: &Session, id: i64) -> Result<Self, Failure> {
        let (requests, receiver) = mpsc::channel(1);
        let first = pb::LeaseKeepAliveRequest { id };
        requests.try_send(first).expect("the channel has room for one request");
        let method = "/etcdserverpb.Lease/LeaseKeepAlive";
        let answers = session.stream(method, ReceiverStream::new(receiver)).await;
        let answers = answers.map_err(|status| session::failure(&status))?;
        Ok(Renewals { id, requests, answers })
    }

    async fn send(&self) -> Result<(), mpsc::error::SendError<pb::LeaseKeepAliveRequest>> {
        self.requests.send(pb::LeaseKeepAliveRequest { id: self.id }).await
    }

    async fn next(&mut self) -> Result<Option<pb::LeaseKeepAliveResponse>, Failure> {
        self.answers.message().await.map_err(|status| session::failure(&status))
    }
}

/// The one argument of a lease command.
fn lease_id(parsed: &Parsed, missing: &str) -> Result<i64, Failure> {
    let [id] = parsed.arguments.as_slice() else { return Err(Failure::arguments(missing)) };
    go_int(&String::from_utf8_lossy(id), 16).map_err(|reason| {
        Failure::arguments(format!("bad lease ID arg ({reason}), expecting ID in Hex"))
    })
}
