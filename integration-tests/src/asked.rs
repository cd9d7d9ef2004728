//! Single questions to a member, each over a connection of its own.

use std::time::Duration;

use client::{Client, Options};
use proto::etcdserverpb::{Member, MemberListRequest, StatusRequest, StatusResponse};

/// How long an answer may take unless a test says otherwise.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Runs `work` with a client of these endpoints, parted by commas, and waits for its end.
///
/// # Panics
/// When it takes a minute.
pub fn asked<T>(endpoints: &str, work: impl AsyncFnOnce(Client) -> T) -> T {
    asked_within(endpoints, ANSWER_DEADLINE, work).expect("an answer in time")
}

/// As [`asked`], but `None` when it takes longer than `deadline`.
pub fn asked_within<T>(
    endpoints: &str,
    deadline: Duration,
    work: impl AsyncFnOnce(Client) -> T,
) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let endpoints: Vec<&str> = endpoints.split(',').collect();
        let client = Client::new(&endpoints, Options::default()).expect("a client");
        tokio::time::timeout(deadline, work(client)).await.ok()
    })
}

/// What a member says of itself, if it answers at once.
pub fn status(authority: &str) -> Option<StatusResponse> {
    let ask = async |client: Client| client.maintenance().status(StatusRequest {}).await;
    Some(asked_within(authority, Duration::from_secs(2), ask)?.ok()?.into_inner())
}

/// The members as one of them knows them.
///
/// # Errors
/// The member's answer, or that there was none within 10 s.
pub fn members(authority: &str, linearizable: bool) -> Result<Vec<Member>, String> {
    let request = MemberListRequest { linearizable };
    let ask = async |client: Client| client.cluster().member_list(request).await;
    let answer = asked_within(authority, Duration::from_secs(10), ask);
    let answer = answer.ok_or("no answer")?.map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner().members)
}
