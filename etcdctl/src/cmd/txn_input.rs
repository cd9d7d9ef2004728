//! The compares of a transaction as users write them: `mod("key") > "3"`.

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

use super::shell_words::go_string;
use crate::cli::go_int;

/// Reads one compare.
///
/// # Errors
/// The text owed for the way in which the line is wrong.
pub(super) fn compare(line: &[u8]) -> Result<pb::Compare, String> {
    let shown = String::from_utf8_lossy(line);
    let malformed = || format!("malformed comparison: {shown}");
    let open = line.iter().position(|byte| *byte == b'(').ok_or_else(malformed)?;
    let target = String::from_utf8_lossy(&line[..open]).into_owned();
    let scanned = scan(&line[open + 1..]);
    let Some(value) = scanned.value else {
        let key = base::text::quote(&scanned.key);
        return Err(format!("{}; got {target}({key}) {} \"\"", malformed(), scanned.operator));
    };
    let result = match scanned.operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(malformed()),
    };
    let number = |radix| {
        go_int(&String::from_utf8_lossy(&value), radix)
            .map_err(|_| format!("invalid txn compare request: {shown}"))
    };
    let (target, union) = match target.as_str() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        unknown => return Err(format!("{} (unknown target {unknown})", malformed())),
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: scanned.key.into(),
        range_end: Bytes::new(),
        target_union: Some(union),
    })
}

/// What could be read of `"key") op "value"`.
#[derive(Default)]
struct Scanned {
    key: Vec<u8>,
    operator: String,
    /// `None` when the scan did not come so far.
    value: Option<Vec<u8>>,
}

fn scan(text: &[u8]) -> Scanned {
    let mut scanned = Scanned::default();
    let Some((key, rest)) = go_string(text) else { return scanned };
    scanned.key = key;
    let Some(rest) = rest.strip_prefix(b")") else { return scanned };
    let rest = rest.trim_ascii_start();
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    scanned.operator = String::from_utf8_lossy(&rest[..end]).into_owned();
    if !scanned.operator.is_empty() {
        scanned.value = go_string(rest[end..].trim_ascii_start()).map(|(value, _)| value);
    }
    scanned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        compare(line.as_bytes()).expect_err("refused")
    }

    #[test]
    fn every_target_and_operator_is_read() {
        let read = |line: &str| {
            let made = compare(line.as_bytes()).unwrap_or_else(|text| panic!("{text}"));
            (made.key.to_vec(), made.result, made.target_union.expect("a value"))
        };
        let key = b"k".to_vec();
        assert_eq!(read(r#"ver("k") = "1""#), (key.clone(), 0, TargetUnion::Version(1)));
        assert_eq!(read(r#"create("k") > "2""#), (key.clone(), 1, TargetUnion::CreateRevision(2)));
        assert_eq!(read(r#"m("k") < "-3""#), (key.clone(), 2, TargetUnion::ModRevision(-3)));
        let value = TargetUnion::Value(Bytes::from_static(b"a\nb"));
        assert_eq!(read(r#"value("k") != "a\nb""#), (key.clone(), 3, value));
        assert_eq!(read(r#"lease(`k`) = "1f""#), (key, 0, TargetUnion::Lease(31)));
    }

    #[test]
    fn a_wrong_compare_is_told_as_etcdctl_tells_it() {
        assert_eq!(refused("bogus"), "malformed comparison: bogus");
        assert_eq!(
            refused(r#"mod(k) = "1""#),
            r#"malformed comparison: mod(k) = "1"; got mod("")  """#
        );
        assert_eq!(
            refused(r#"mod("k") = 1"#),
            r#"malformed comparison: mod("k") = 1; got mod("k") = """#
        );
        assert_eq!(
            refused(r#"zz("k") = "1""#),
            r#"malformed comparison: zz("k") = "1" (unknown target zz)"#
        );
        assert_eq!(
            refused(r#"mod("k") = "abc""#),
            r#"invalid txn compare request: mod("k") = "abc""#
        );
        assert_eq!(refused(r#"mod("k") >= "1""#), r#"malformed comparison: mod("k") >= "1""#);
    }
}
