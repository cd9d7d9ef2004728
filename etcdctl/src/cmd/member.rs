//! `member add|list|promote|remove|update`, and the list of members other commands need.

use proto::etcdserverpb as pb;

use crate::cli::{Parsed, go_uint};
use crate::failure::{Failure, code};
use crate::output;
use crate::print::{MemberChange, Reply};
use crate::session::Session;

/// Runs `member add`.
pub(super) async fn add(parsed: Parsed) -> Result<(), Failure> {
    let name = new_name(&parsed.arguments)?;
    let peer_urls = peer_urls(&parsed)?;
    let request = pb::MemberAddRequest {
        peer_ur_ls: checked_list(&peer_urls)?,
        is_learner: parsed.switch("learner"),
    };
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.Cluster/MemberAdd";
    let response: pb::MemberAddResponse =
        session.unary(method, session.deadline(), request).await?;
    let reply = Reply::MemberAdd { name: &name, peer_urls: &peer_urls, response: &response };
    output::print(session.settings().style, &reply)
}

/// Runs `member list`.
pub(super) async fn list(parsed: Parsed) -> Result<(), Failure> {
    let linearizable = match parsed.text("consistency") {
        "l" => true,
        "s" => false,
        // The text has always shown the default of another command.
        _ => return Err(Failure::new(code::BAD_FEATURE, "unknown consistency flag \"l\"")),
    };
    let session = super::open(parsed).await?;
    let response = members(&session, linearizable).await?;
    output::print(session.settings().style, &Reply::Members(&response))
}

/// Runs `member promote`.
pub(super) async fn promote(parsed: Parsed) -> Result<(), Failure> {
    let id = member_id(&parsed)?;
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.Cluster/MemberPromote";
    let request = pb::MemberPromoteRequest { id };
    let pb::MemberPromoteResponse { header, members } =
        session.unary(method, session.deadline(), request).await?;
    changed(&session, MemberChange::Promoted, id, pb::MemberListResponse { header, members })
}

/// Runs `member remove`.
pub(super) async fn remove(parsed: Parsed) -> Result<(), Failure> {
    let id = member_id(&parsed)?;
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.Cluster/MemberRemove";
    let request = pb::MemberRemoveRequest { id };
    let pb::MemberRemoveResponse { header, members } =
        session.unary(method, session.deadline(), request).await?;
    changed(&session, MemberChange::Removed, id, pb::MemberListResponse { header, members })
}

/// Runs `member update`.
pub(super) async fn update(parsed: Parsed) -> Result<(), Failure> {
    let id = member_id(&parsed)?;
    let peer_ur_ls = checked_list(&peer_urls(&parsed)?)?;
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.Cluster/MemberUpdate";
    let request = pb::MemberUpdateRequest { id, peer_ur_ls };
    let pb::MemberUpdateResponse { header, members } =
        session.unary(method, session.deadline(), request).await?;
    changed(&session, MemberChange::Updated, id, pb::MemberListResponse { header, members })
}

fn changed(
    session: &Session,
    change: MemberChange,
    id: u64,
    response: pb::MemberListResponse,
) -> Result<(), Failure> {
    let reply = Reply::MemberChanged { change, id, response: &response };
    output::print(session.settings().style, &reply)
}

/// The name of the member to add. URLs among the arguments get a hint: they belong to a flag.
fn new_name(arguments: &[Vec<u8>]) -> Result<String, Failure> {
    match arguments {
        [] => Err(Failure::arguments("member name not provided")),
        [name] => Ok(String::from_utf8_lossy(name).into_owned()),
        _ => {
            let mut text = "too many arguments".to_owned();
            for argument in arguments {
                let argument = String::from_utf8_lossy(argument);
                if argument.to_lowercase().starts_with("http") {
                    text.push_str(&format!(", did you mean --peer-urls={argument}"));
                }
            }
            Err(Failure::arguments(text))
        }
    }
}

/// The one argument of the commands about a member that exists.
fn member_id(parsed: &Parsed) -> Result<u64, Failure> {
    let [id] = parsed.arguments.as_slice() else {
        return Err(Failure::arguments("member ID is not provided"));
    };
    go_uint(&String::from_utf8_lossy(id), 16).map_err(|reason| {
        Failure::arguments(format!("bad member ID arg ({reason}), expecting ID in Hex"))
    })
}

fn peer_urls(parsed: &Parsed) -> Result<String, Failure> {
    match parsed.text("peer-urls") {
        "" => Err(Failure::arguments("member peer urls not provided")),
        urls => Ok(urls.to_owned()),
    }
}

/// The URLs in the order given, refused here when a server would not take them.
fn checked_list(urls: &str) -> Result<Vec<String>, Failure> {
    let list: Vec<String> = urls.split(',').map(str::to_owned).collect();
    base::urls::normalize(&list).map_err(|error| Failure::new(code::ERROR, error.to_string()))?;
    Ok(list)
}

async fn members(session: &Session, linearizable: bool) -> Result<pb::MemberListResponse, Failure> {
    let request = pb::MemberListRequest { linearizable };
    session.unary("/etcdserverpb.Cluster/MemberList", session.deadline(), request).await
}

/// The endpoints of a command over several servers: those given, or with `--cluster` every
/// client URL of every member.
pub(super) async fn endpoints(session: &Session, cluster: bool) -> Result<Vec<String>, Failure> {
    if !cluster {
        return Ok(session.settings().endpoints.clone());
    }
    let response = members(session, true).await.map_err(|failure| {
        failure.wrapped(|text| {
            format!("failed to fetch endpoints from etcd cluster member list: {text}")
        })
    })?;
    Ok(response.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(words: &[&str]) -> Result<String, String> {
        let arguments: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        new_name(&arguments).map_err(|failure| {
            assert_eq!(failure.code, code::BAD_ARGUMENTS);
            failure.text().to_owned()
        })
    }

    #[test]
    fn a_new_member_has_one_name_and_urls_go_to_the_flag() {
        assert_eq!(name(&["n1"]), Ok("n1".to_owned()));
        assert_eq!(name(&[]), Err("member name not provided".to_owned()));
        assert_eq!(name(&["a", "b"]), Err("too many arguments".to_owned()));
        assert_eq!(
            name(&["a", "b", "http://x", "HTTPS://y"]),
            Err("too many arguments, did you mean --peer-urls=http://x, \
                 did you mean --peer-urls=HTTPS://y"
                .to_owned())
        );
    }

    #[test]
    fn peer_urls_keep_their_order_and_are_checked() {
        let urls = checked_list("http://b:2,http://a:1").map_err(|f| f.text().to_owned());
        assert_eq!(urls, Ok(vec!["http://b:2".to_owned(), "http://a:1".to_owned()]));
        let refused = checked_list("http://a:1,bogus").expect_err("refused");
        let text = "URL scheme must be http, https, unix, or unixs: bogus";
        assert_eq!((refused.code, refused.text()), (code::ERROR, text));
    }
}
