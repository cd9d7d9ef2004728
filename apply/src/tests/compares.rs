//! Compares of a txn.

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::{Compare, PutRequest};
use proto::request::Kind;

use super::{Rig, put};

/// foo: created 2, modified 3, version 2, value bar, lease 9. fop: version 1.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.grant(9, 60);
    rig.put("foo", "old");
    rig.reply(Kind::Put, &PutRequest { lease: 9, ..put("foo", "bar") });
    rig.put("fop", "bar");
    rig
}

fn holds(
    key: &'static str,
    target: CompareTarget,
    result: CompareResult,
    union: Option<TargetUnion>,
) -> bool {
    raw_holds(key, "", target as i32, result as i32, union)
}

fn raw_holds(
    key: &'static str,
    end: &'static str,
    target: i32,
    result: i32,
    target_union: Option<TargetUnion>,
) -> bool {
    let compare = Compare { result, target, key: key.into(), range_end: end.into(), target_union };
    let txn = proto::etcdserverpb::TxnRequest { compare: vec![compare], ..Default::default() };
    rig().txn(&txn).succeeded
}

use CompareResult::{Equal, Greater, Less, NotEqual};
use TargetUnion as T;

#[test]
fn every_target_and_result_compares() {
    let value = |text: &'static str| Some(T::Value(Bytes::from(text)));
    for (target, below, same, above) in [
        (CompareTarget::Version, Some(T::Version(1)), Some(T::Version(2)), Some(T::Version(3))),
        (
            CompareTarget::Create,
            Some(T::CreateRevision(1)),
            Some(T::CreateRevision(2)),
            Some(T::CreateRevision(3)),
        ),
        (
            CompareTarget::Mod,
            Some(T::ModRevision(2)),
            Some(T::ModRevision(3)),
            Some(T::ModRevision(4)),
        ),
        (CompareTarget::Lease, Some(T::Lease(8)), Some(T::Lease(9)), Some(T::Lease(10))),
        (CompareTarget::Value, value("baq"), value("bar"), value("bars")),
    ] {
        for (union, expected) in [
            (below, [(Equal, false), (NotEqual, true), (Greater, true), (Less, false)]),
            (same, [(Equal, true), (NotEqual, false), (Greater, false), (Less, false)]),
            (above, [(Equal, false), (NotEqual, true), (Greater, false), (Less, true)]),
        ] {
            for (result, truth) in expected {
                assert_eq!(
                    holds("foo", target, result, union.clone()),
                    truth,
                    "{target:?} {result:?} {union:?}"
                );
            }
        }
    }
}

#[test]
fn a_missing_key_has_zeros_but_no_value() {
    for (target, zero) in [
        (CompareTarget::Version, T::Version(0)),
        (CompareTarget::Create, T::CreateRevision(0)),
        (CompareTarget::Mod, T::ModRevision(0)),
        (CompareTarget::Lease, T::Lease(0)),
    ] {
        assert!(holds("none", target, Equal, Some(zero)), "{target:?}");
    }
    for result in [Equal, NotEqual, Greater, Less] {
        assert!(!holds("none", CompareTarget::Value, result, Some(T::Value("x".into()))));
        assert!(!holds("none", CompareTarget::Value, result, None));
    }
}

#[test]
fn another_or_no_member_of_the_union_counts_as_zero() {
    for union in [None, Some(T::ModRevision(2))] {
        assert!(!holds("foo", CompareTarget::Version, Equal, union.clone()));
        assert!(holds("foo", CompareTarget::Version, Greater, union.clone()));
        assert!(holds("foo", CompareTarget::Value, Greater, union));
    }
}

#[test]
fn an_undefined_result_holds_except_for_a_missing_value() {
    assert!(raw_holds("foo", "", CompareTarget::Version as i32, 77, Some(T::Version(1))));
    assert!(raw_holds("foo", "", CompareTarget::Value as i32, 77, None));
    assert!(raw_holds("none", "", CompareTarget::Version as i32, 77, Some(T::Version(1))));
    assert!(!raw_holds("none", "", CompareTarget::Value as i32, 77, None));
}

#[test]
fn an_undefined_target_compares_as_equal() {
    for key in ["foo", "none"] {
        for (result, truth) in [(Equal, true), (Greater, false), (Less, false), (NotEqual, false)] {
            let union = Some(T::Version(99));
            assert_eq!(raw_holds(key, "", 77, result as i32, union), truth, "{result:?}");
        }
    }
}

#[test]
fn a_range_holds_when_every_key_of_it_does() {
    let version = CompareTarget::Version as i32;
    let value = CompareTarget::Value as i32;
    let (equal, greater) = (Equal as i32, Greater as i32);
    assert!(raw_holds("fo", "fz", version, greater, Some(T::Version(0))));
    assert!(!raw_holds("fo", "fz", version, greater, Some(T::Version(1))));
    assert!(raw_holds("fo", "fz", value, equal, Some(T::Value("bar".into()))));
    assert!(!raw_holds("fo", "fz", CompareTarget::Lease as i32, equal, Some(T::Lease(9))));
}

#[test]
fn an_empty_range_is_a_missing_key() {
    assert!(raw_holds("x", "z", CompareTarget::Version as i32, Equal as i32, None));
    assert!(!raw_holds("x", "z", CompareTarget::Value as i32, NotEqual as i32, None));
}
