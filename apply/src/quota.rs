//! The space quota: what a request costs, and whether the file has room for it.
//!
//! The quota is a member's own setting, so inside apply it may change the *answer* only; the
//! write happens on every member alike. The server asks the same questions before it proposes.

use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op};

/// What a lease grant costs, in bytes.
pub const LEASE_GRANT_COST: i64 = 64;

/// What a put costs beside its key and value, in bytes.
pub const PUT_OVERHEAD: i64 = 256;

/// The quota when none is configured: 2 GiB.
pub const DEFAULT_QUOTA_BYTES: i64 = 2 * 1024 * 1024 * 1024;

/// The cost of a put in bytes.
pub fn put_cost(put: &PutRequest) -> i64 {
    PUT_OVERHEAD + byte_len(put.key.len()) + byte_len(put.value.len())
}

/// The cost of a txn in bytes: the dearer of its branches, nested ones included.
pub fn txn_cost(txn: &TxnRequest) -> i64 {
    // Each txn is a frame that collects both branch sums; its cost goes to the branch it is in.
    struct Frame<'a> {
        ops: std::slice::Iter<'a, RequestOp>,
        rest: Option<&'a [RequestOp]>,
        sums: [i64; 2],
        branch: usize,
    }
    fn frame(txn: &TxnRequest) -> Frame<'_> {
        Frame { ops: txn.success.iter(), rest: Some(&txn.failure), sums: [0; 2], branch: 0 }
    }
    let mut stack = vec![frame(txn)];
    loop {
        let top = stack.last_mut().expect("the loop returns when the last frame is popped");
        if let Some(op) = top.ops.next() {
            match &op.request {
                Some(request_op::Request::RequestPut(put)) => {
                    top.sums[top.branch] += put_cost(put);
                }
                Some(request_op::Request::RequestTxn(nested)) => stack.push(frame(nested)),
                Some(
                    request_op::Request::RequestRange(_)
                    | request_op::Request::RequestDeleteRange(_),
                )
                | None => {}
            }
        } else if let Some(rest) = top.rest.take() {
            top.ops = rest.iter();
            top.branch = 1;
        } else {
            let cost = top.sums[0].max(top.sums[1]);
            stack.pop();
            match stack.last_mut() {
                Some(outer) => outer.sums[outer.branch] += cost,
                None => return cost,
            }
        }
    }
}

fn byte_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX / 4)
}

/// The configured quota in bytes, as the flag gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    limit: Option<i64>,
}

impl Quota {
    /// The quota of a flag value: 0 is the default, a negative number switches the quota off.
    pub fn from_flag(bytes: i64) -> Self {
        match bytes {
            0 => Self { limit: Some(DEFAULT_QUOTA_BYTES) },
            n if n < 0 => Self { limit: None },
            n => Self { limit: Some(n) },
        }
    }

    /// Whether a backend of `allocated` bytes has room for a request of this cost.
    ///
    /// Requests without cost always pass.
    pub fn allows(&self, allocated: u64, cost: i64) -> bool {
        match self.limit {
            None => true,
            Some(_) if cost == 0 => true,
            Some(limit) => {
                i64::try_from(allocated).unwrap_or(i64::MAX).saturating_add(cost) < limit
            }
        }
    }
}
