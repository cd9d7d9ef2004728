//! `get`.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::key_range::{Widening, interval};
use crate::cli::Parsed;
use crate::failure::{Failure, code};
use crate::output;
use crate::print::{Format, Reply};
use crate::session::{Deadline, Session};

/// Runs the command.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    let request = request(&parsed)?;
    let (count_only, value_only) = (parsed.switch("count-only"), parsed.switch("print-value-only"));
    let stream = parsed.switch("stream");
    let session = super::open(parsed).await?;
    let style = session.settings().style;
    let deadline = session.deadline();
    let response = if stream {
        streamed(&session, deadline, request).await?
    } else {
        session.unary("/etcdserverpb.KV/Range", deadline, request).await?
    };
    if count_only && style.format != Format::Fields {
        return Err(Failure::arguments("--count-only is only for `--write-out=fields`"));
    }
    if value_only && style.format != Format::Simple {
        return Err(Failure::arguments("print-value-only is only for `--write-out=simple`"));
    }
    output::print(style, &Reply::Get { response: &response, value_only })
}

/// Puts the pieces of a streamed answer together.
async fn streamed(
    session: &Session,
    deadline: Deadline,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Failure> {
    let mut stream = session
        .server_stream::<_, pb::RangeStreamResponse>(
            "/etcdserverpb.KV/RangeStream",
            deadline,
            request,
        )
        .await?;
    let mut whole = pb::RangeResponse::default();
    while let Some(piece) = session.next(&mut stream, deadline).await? {
        let Some(piece) = piece.range_response else { continue };
        whole.kvs.extend(piece.kvs);
        // Only the last piece has these.
        whole.header = piece.header.or(whole.header);
        whole.more |= piece.more;
        whole.count = whole.count.max(piece.count);
    }
    Ok(whole)
}

/// The request of a `get` command line, inside a transaction too.
///
/// # Errors
/// Arguments or flags that contradict each other.
pub(super) fn request(parsed: &Parsed) -> Result<pb::RangeRequest, Failure> {
    let [key, rest @ ..] = parsed.arguments.as_slice() else {
        return Err(Failure::arguments(
            "get command needs one argument as key and an optional argument as range_end",
        ));
    };
    let widening = Widening::of(parsed.switch("prefix"), parsed.switch("from-key"))?;
    let (keys_only, count_only) = (parsed.switch("keys-only"), parsed.switch("count-only"));
    if keys_only && count_only {
        return Err(Failure::arguments(
            "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
        ));
    }
    let serializable = serializable(parsed)?;
    let interval = interval(key, rest.first().map(Vec::as_slice), widening)?;
    let (sort_order, sort_target) = sorting(parsed)?;
    let create = revisions(parsed, "create-rev", "CreateRev")?;
    let modified = revisions(parsed, "mod-rev", "ModRev")?;
    Ok(pb::RangeRequest {
        key: interval.key,
        range_end: interval.range_end,
        limit: parsed.int("limit"),
        revision: parsed.int("rev").max(0),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only,
        count_only,
        min_create_revision: create.0,
        max_create_revision: create.1,
        min_mod_revision: modified.0,
        max_mod_revision: modified.1,
    })
}

/// The value of `--consistency`.
fn serializable(parsed: &Parsed) -> Result<bool, Failure> {
    match parsed.text("consistency") {
        "s" => Ok(true),
        "l" => Ok(false),
        other => {
            let text = format!("unknown consistency flag {}", base::text::quote(other.as_bytes()));
            Err(Failure::new(code::BAD_FEATURE, text))
        }
    }
}

fn sorting(parsed: &Parsed) -> Result<(SortOrder, SortTarget), Failure> {
    let bad =
        |what: &str, text: &str| Failure::new(code::BAD_FEATURE, format!("bad sort {what} {text}"));
    let (order_text, target_text) = (parsed.text("order"), parsed.text("sort-by"));
    let order = match order_text.to_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" => SortOrder::None,
        _ => return Err(bad("order", order_text)),
    };
    let target = match target_text.to_uppercase().as_str() {
        "CREATE" => SortTarget::Create,
        "KEY" | "" => SortTarget::Key,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => return Err(bad("target", target_text)),
    };
    // Keys come in ascending order anyway.
    let by_key_upwards = target == SortTarget::Key && order == SortOrder::Ascend;
    Ok((if by_key_upwards { SortOrder::None } else { order }, target))
}

/// The pair of flags `--min-<flag>` and `--max-<flag>`; `name` stands in the error.
fn revisions(parsed: &Parsed, flag: &str, name: &str) -> Result<(i64, i64), Failure> {
    let (min, max) = (parsed.int(&format!("min-{flag}")), parsed.int(&format!("max-{flag}")));
    if max > 0 && min > max {
        let text = format!("getMin{name}(={min}) > getMax{name}(={max})");
        return Err(Failure::new(code::BAD_FEATURE, text));
    }
    Ok((min.max(0), max.max(0)))
}
