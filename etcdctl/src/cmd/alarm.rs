//! `alarm list` and `alarm disarm`.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;

use crate::cli::Parsed;
use crate::failure::Failure;
use crate::output;
use crate::print::Reply;
use crate::session::{Deadline, Session};

/// Runs `alarm list`.
pub(super) async fn list(parsed: Parsed) -> Result<(), Failure> {
    no_arguments(&parsed, "list")?;
    let session = super::open(parsed).await?;
    let response = active(&session, session.deadline()).await?;
    output::print(session.settings().style, &Reply::Alarms(&response))
}

/// Runs `alarm disarm`: every active alarm by itself. The answers are printed as one, without a
/// header.
pub(super) async fn disarm(parsed: Parsed) -> Result<(), Failure> {
    no_arguments(&parsed, "disarm")?;
    let session = super::open(parsed).await?;
    let deadline = session.deadline();
    let mut merged = pb::AlarmResponse::default();
    for alarm in active(&session, deadline).await?.alarms {
        let request = pb::AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: alarm.member_id,
            alarm: alarm.alarm,
        };
        merged.alarms.extend(call(&session, deadline, request).await?.alarms);
    }
    output::print(session.settings().style, &Reply::Alarms(&merged))
}

fn no_arguments(parsed: &Parsed, command: &str) -> Result<(), Failure> {
    if parsed.arguments.is_empty() {
        return Ok(());
    }
    Err(Failure::arguments(format!("alarm {command} command accepts no arguments")))
}

async fn active(session: &Session, deadline: Deadline) -> Result<pb::AlarmResponse, Failure> {
    let request = pb::AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
    call(session, deadline, request).await
}

async fn call(
    session: &Session,
    deadline: Deadline,
    request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, Failure> {
    session.unary("/etcdserverpb.Maintenance/Alarm", deadline, request).await
}
