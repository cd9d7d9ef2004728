//! Compares of a txn: pure questions to the state before it.

use std::cmp::Ordering;

use base::KeyRange;
use mvcc::KeyState;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::{Compare, TxnRequest};
use proto::mvccpb::KeyValue;

use crate::range::decode_pair;
use crate::source::{ReadError, Source};

/// Whether all compares of a txn hold; of none, they do.
pub(crate) fn holds_all(source: &impl Source, txn: &TxnRequest) -> Result<bool, ReadError> {
    for compare in &txn.compare {
        if !holds(source, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a compare holds, for its key or for every key of its range.
///
/// No key at all counts as one of zeros, except for a value: that never holds.
fn holds(source: &impl Source, compare: &Compare) -> Result<bool, ReadError> {
    let needs_row = matches!(
        CompareTarget::try_from(compare.target),
        Ok(CompareTarget::Value | CompareTarget::Lease)
    );
    if compare.range_end.is_empty() {
        return Ok(if needs_row {
            let row = source.pair(&compare.key)?;
            let pair = row.as_ref().map(decode_pair).transpose()?;
            holds_for(compare, pair.as_ref())
        } else {
            let state = source.stat(&compare.key)?;
            holds_for(compare, state.map(zero_row_of).as_ref())
        });
    }
    let range = KeyRange { key: compare.key.clone(), end: compare.range_end.clone() };
    if needs_row {
        let rows = source.pairs(&range, 0, usize::MAX)?.items;
        if rows.is_empty() {
            return Ok(holds_for(compare, None));
        }
        for row in &rows {
            if !holds_for(compare, Some(&decode_pair(row)?)) {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let metas = source.metas(&range, 0, usize::MAX)?.items;
    if metas.is_empty() {
        return Ok(holds_for(compare, None));
    }
    Ok(metas.iter().all(|meta| holds_for(compare, Some(&zero_row_of(meta.state)))))
}

/// A pair with what the index knows, for targets that ask no more.
fn zero_row_of(state: KeyState) -> KeyValue {
    KeyValue {
        create_revision: state.created.main,
        mod_revision: state.modified.main,
        version: state.version,
        ..KeyValue::default()
    }
}

/// The compare against one pair, or against none.
fn holds_for(compare: &Compare, pair: Option<&KeyValue>) -> bool {
    let target = CompareTarget::try_from(compare.target);
    if pair.is_none() && target == Ok(CompareTarget::Value) {
        return false;
    }
    let absent = KeyValue::default();
    let pair = pair.unwrap_or(&absent);
    let union = compare.target_union.as_ref();
    // The target names the field; any other member of the union counts as zero or empty.
    let ordering = match target {
        Ok(CompareTarget::Version) => pair.version.cmp(&match union {
            Some(TargetUnion::Version(wanted)) => *wanted,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => pair.create_revision.cmp(&match union {
            Some(TargetUnion::CreateRevision(wanted)) => *wanted,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => pair.mod_revision.cmp(&match union {
            Some(TargetUnion::ModRevision(wanted)) => *wanted,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => pair.lease.cmp(&match union {
            Some(TargetUnion::Lease(wanted)) => *wanted,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => match union {
            Some(TargetUnion::Value(wanted)) => pair.value.cmp(wanted),
            _ => pair.value[..].cmp(&[]),
        },
        Err(_undefined) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_undefined) => true,
    }
}
