//! `endpoint health`, `endpoint status` and `endpoint hashkv`.

use std::time::Instant;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use tokio::task::JoinSet;

use super::member;
use crate::cli::Parsed;
use crate::failure::{Failure, code};
use crate::output;
use crate::print::{
    EndpointHashKv, EndpointHealth, EndpointStatus, Format, Reply, alarm_name, health_line,
};
use crate::session::Session;
use crate::settings::Settings;

const PERMISSION_DENIED: &str = "etcdserver: permission denied";

/// Runs `endpoint status`.
pub(super) async fn status(parsed: Parsed) -> Result<(), Failure> {
    let cluster = parsed.switch("cluster");
    let session = super::open(parsed).await?;
    let mut rows = Vec::new();
    let mut failed = false;
    for endpoint in member::endpoints(&session, cluster).await? {
        let method = "/etcdserverpb.Maintenance/Status";
        match ask(&session, &endpoint, method, pb::StatusRequest {}).await {
            Ok(status) => rows.push(EndpointStatus { endpoint, status }),
            Err(failure) => {
                failed = true;
                let text = failure.text();
                output::complain(&format!(
                    "Failed to get the status of endpoint {endpoint} ({text})"
                ));
            }
        }
    }
    output::print(session.settings().style, &Reply::Status(&rows))?;
    if failed { Err(Failure::silent(code::ERROR)) } else { Ok(()) }
}

/// Runs `endpoint hashkv`.
pub(super) async fn hash_kv(parsed: Parsed) -> Result<(), Failure> {
    let cluster = parsed.switch("cluster");
    let revision = parsed.int("rev");
    let session = super::open(parsed).await?;
    let mut rows = Vec::new();
    let mut failed = None;
    for endpoint in member::endpoints(&session, cluster).await? {
        let method = "/etcdserverpb.Maintenance/HashKV";
        match ask(&session, &endpoint, method, pb::HashKvRequest { revision }).await {
            Ok(hash_kv) => rows.push(EndpointHashKv { endpoint, hash_kv }),
            Err(failure) => {
                let text = failure.text();
                output::complain(&format!(
                    "Failed to get the hash of endpoint {endpoint} ({text})"
                ));
                failed = Some(failure);
            }
        }
    }
    output::print(session.settings().style, &Reply::HashKv(&rows))?;
    failed.map_or(Ok(()), Err)
}

/// One question to one endpoint, under a deadline of its own.
async fn ask<Q, A>(
    session: &Session,
    endpoint: &str,
    method: &'static str,
    request: Q,
) -> Result<A, Failure>
where
    Q: prost::Message + Clone + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let session = Session::open(session.settings().at(endpoint)).await?;
    session.unary(method, session.deadline(), request).await
}

/// Runs `endpoint health`.
pub(super) async fn health(parsed: Parsed) -> Result<(), Failure> {
    let cluster = parsed.switch("cluster");
    let session = super::open(parsed).await?;
    let style = session.settings().style;
    let mut probes = JoinSet::new();
    for endpoint in member::endpoints(&session, cluster).await? {
        let settings = session.settings().at(&endpoint);
        probes.spawn(probe(endpoint, settings));
    }
    // In order of completion.
    let mut rows = Vec::new();
    while let Some(done) = probes.join_next().await {
        rows.push(done.map_err(|error| Failure::new(code::ERROR, error.to_string()))?);
    }
    if style.format == Format::Simple {
        for row in &rows {
            if row.health {
                output::print(style, &Reply::Health(std::slice::from_ref(row)))?;
            } else {
                output::complain(&health_line(row));
            }
        }
    } else {
        output::print(style, &Reply::Health(&rows))?;
    }
    if rows.iter().all(|row| row.health) {
        Ok(())
    } else {
        Err(Failure::new(code::ERROR, "unhealthy cluster"))
    }
}

/// A linearizable read, then the alarms; being refused the read is a sign of life too.
async fn probe(endpoint: String, settings: Settings) -> EndpointHealth {
    let mut row =
        EndpointHealth { endpoint, health: false, took: String::new(), error: String::new() };
    let session = match Session::open(settings).await {
        Ok(session) => session.logging_as("client"),
        Err(failure) => return EndpointHealth { error: failure.text().to_owned(), ..row },
    };
    let deadline = session.deadline();
    let request = pb::RangeRequest { key: Bytes::from_static(b"health"), ..Default::default() };
    let start = Instant::now();
    let read: Result<pb::RangeResponse, Failure> =
        session.unary("/etcdserverpb.KV/Range", deadline, request).await;
    row.took = took(start);
    match read {
        Err(failure) if failure.text() != PERMISSION_DENIED => {
            row.error = failure.text().to_owned();
            return row;
        }
        _ => row.health = true,
    }
    let list = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Get.into(),
        ..Default::default()
    };
    let alarms: Result<pb::AlarmResponse, Failure> =
        session.unary("/etcdserverpb.Maintenance/Alarm", deadline, list).await;
    match alarms {
        Err(_) => {
            row.health = false;
            row.error = "Unable to fetch the alarm list".to_owned();
        }
        Ok(response) if !response.alarms.is_empty() => {
            row.health = false;
            row.error = active(&response.alarms);
        }
        Ok(_) => {}
    }
    row
}

/// `Active Alarm(s): NOSPACE `, a blank after each name.
fn active(alarms: &[pb::AlarmMember]) -> String {
    let mut text = "Active Alarm(s): ".to_owned();
    for alarm in alarms {
        let name = match alarm.alarm {
            1 | 2 => alarm_name(alarm.alarm),
            _ => "UNKNOWN".to_owned(),
        };
        text.push_str(&name);
        text.push(' ');
    }
    text
}

/// Time since `start` in Go's notation.
pub(super) fn took(start: Instant) -> String {
    base::text::format_duration(i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX))
}
