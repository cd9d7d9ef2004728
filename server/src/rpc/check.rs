//! What is wrong with a request before anybody looks at the store. Pure functions.

use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op,
};

use super::duplicates;
use super::errors::RpcError;

/// Checks a range.
///
/// # Errors
/// [`RpcError::EmptyKey`], [`RpcError::InvalidSortOption`].
pub(crate) fn range(request: &RangeRequest) -> Result<(), RpcError> {
    if request.key.is_empty() {
        return Err(RpcError::EmptyKey);
    }
    let order = SortOrder::try_from(request.sort_order);
    let target = SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(RpcError::InvalidSortOption);
    }
    Ok(())
}

/// Checks a streamed range: its chunks come in key order, unfiltered.
///
/// # Errors
/// Those of [`range`], then [`RpcError::RangeStreamSort`], [`RpcError::RangeStreamFilters`].
pub(crate) fn range_stream(request: &RangeRequest) -> Result<(), RpcError> {
    range(request)?;
    let by_key = request.sort_target() == SortTarget::Key;
    match request.sort_order() {
        SortOrder::None => {}
        SortOrder::Ascend if by_key => {}
        SortOrder::Ascend | SortOrder::Descend => return Err(RpcError::RangeStreamSort),
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters != [0; 4] {
        return Err(RpcError::RangeStreamFilters);
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// [`RpcError::EmptyKey`], [`RpcError::ValueProvided`], [`RpcError::LeaseProvided`].
pub(crate) fn put(request: &PutRequest) -> Result<(), RpcError> {
    if request.key.is_empty() {
        return Err(RpcError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(RpcError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(RpcError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
///
/// # Errors
/// [`RpcError::EmptyKey`].
pub(crate) fn delete_range(request: &DeleteRangeRequest) -> Result<(), RpcError> {
    if request.key.is_empty() { Err(RpcError::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction, nested ones included: the budget, every compare and operation, then
/// keys changed twice.
///
/// The budget is what may stand on one level, in the longest of compares and branches; a nested
/// transaction gets what its level left over. So recursion is never deeper than the budget.
///
/// # Errors
/// [`RpcError::TooManyOps`], the errors of the operations, [`RpcError::DuplicateKey`].
pub(crate) fn txn(request: &TxnRequest, ops_max: usize) -> Result<(), RpcError> {
    txn_level(request, ops_max)?;
    duplicates::check(&request.success)?;
    duplicates::check(&request.failure)
}

fn txn_level(txn: &TxnRequest, budget: usize) -> Result<(), RpcError> {
    let used = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    let left = budget.checked_sub(used).ok_or(RpcError::TooManyOps)?;
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(RpcError::EmptyKey);
    }
    txn.success.iter().chain(&txn.failure).try_for_each(|op| op_of_level(op, left))
}

fn op_of_level(op: &RequestOp, budget: usize) -> Result<(), RpcError> {
    match &op.request {
        Some(request_op::Request::RequestRange(request)) => range(request),
        Some(request_op::Request::RequestPut(request)) => put(request),
        Some(request_op::Request::RequestDeleteRange(request)) => delete_range(request),
        Some(request_op::Request::RequestTxn(nested)) => txn_level(nested, budget),
        None => Err(RpcError::KeyNotFound),
    }
}

#[cfg(test)]
mod tests;
