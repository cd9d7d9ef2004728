//! Transactions: plan, check, execute.
//!
//! ```text
//!   compare ──▶ Begin(true) Put Range Begin(false) Delete End Put End      plan: flat, and decided
//!                 ▲                     ▲                                  on the state before
//!                 └ evaluated before any operation of the whole txn runs
//! ```
//!
//! The plan is a list, so nesting costs no stack. Everything that may refuse is asked before the
//! first operation runs; after that only a failing store can stop it, which is fatal.

use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest, request_op,
};
use proto::raw;

use crate::compare;
use crate::error::ApplyError;
use crate::lease::LeaseTable;
use crate::range;
use crate::source::{ReadError, Source};
use crate::store::Pinned;
use crate::write::{self, Target};

/// One step of a decided txn.
#[derive(Debug)]
enum Step<'a> {
    /// A txn begins, the outermost or a nested one.
    Begin {
        succeeded: bool,
    },
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    Delete(&'a DeleteRangeRequest),
    /// The txn that began last ends.
    End,
}

/// Decides every branch on the present state and lines up what will run.
fn plan<'a>(source: &impl Source, txn: &'a TxnRequest) -> Result<Vec<Step<'a>>, ReadError> {
    let mut steps = Vec::with_capacity(2 + txn.success.len().max(txn.failure.len()));
    let mut open = vec![begin(source, txn, &mut steps)?];
    while let Some(ops) = open.last_mut() {
        let Some(op) = ops.next() else {
            steps.push(Step::End);
            open.pop();
            continue;
        };
        match &op.request {
            Some(request_op::Request::RequestRange(range)) => steps.push(Step::Range(range)),
            Some(request_op::Request::RequestPut(put)) => steps.push(Step::Put(put)),
            Some(request_op::Request::RequestDeleteRange(delete)) => {
                steps.push(Step::Delete(delete));
            }
            Some(request_op::Request::RequestTxn(nested)) => {
                open.push(begin(source, nested, &mut steps)?);
            }
            None => return Err(ApplyError::KeyNotFound.into()),
        }
    }
    Ok(steps)
}

fn begin<'a>(
    source: &impl Source,
    txn: &'a TxnRequest,
    steps: &mut Vec<Step<'a>>,
) -> Result<std::slice::Iter<'a, RequestOp>, ReadError> {
    let succeeded = compare::holds_all(source, txn)?;
    steps.push(Step::Begin { succeeded });
    Ok(if succeeded { txn.success.iter() } else { txn.failure.iter() })
}

/// Refuses a plan that could not run to its end: writes first, then reads.
fn check(
    source: &impl Source,
    leases: Option<&LeaseTable>,
    steps: &[Step<'_>],
) -> Result<(), ReadError> {
    if let Some(leases) = leases {
        for step in steps {
            if let Step::Put(put) = step {
                write::check_put(source, leases, put)?;
            }
        }
    }
    for step in steps {
        if let Step::Range(range) = step {
            if range.revision > source.revision() {
                return Err(ApplyError::FutureRev.into());
            }
            if range.revision != 0 && range.revision < source.compacted_revision() {
                return Err(ApplyError::Compacted.into());
            }
        }
    }
    Ok(())
}

/// Runs a txn that may write.
///
/// Without `want_reply` its ranges are checked but not read, and the answer is empty.
///
/// # Errors
///
/// Refused before anything was written, or the store's own failure, which is fatal.
pub(crate) fn execute<T: Target>(
    target: &mut T,
    leases: &mut LeaseTable,
    txn: &TxnRequest,
    want_reply: bool,
) -> Result<raw::TxnResponse, ReadError> {
    let steps = plan(target, txn)?;
    check(target, Some(leases), &steps)?;
    let mut answers = Answers::new(want_reply);
    for step in &steps {
        match step {
            Step::Begin { succeeded } => answers.begin(*succeeded),
            Step::End => {
                if let Some(response) = answers.end() {
                    return Ok(response);
                }
            }
            Step::Range(request) => {
                if want_reply {
                    let revision = target.revision_of_change();
                    let mut response = read_checked(target, request)?;
                    response.header = op_header(revision);
                    answers.push(raw::Response::ResponseRange(response));
                }
            }
            Step::Put(request) => {
                let mut response = write::put(target, leases, request, want_reply)?;
                response.header = op_header(target.revision_of_change());
                answers.push(raw::Response::ResponsePut(response));
            }
            Step::Delete(request) => {
                let mut response = write::delete_range(target, leases, request, want_reply)?;
                response.header = op_header(target.revision_of_change());
                answers.push(raw::Response::ResponseDeleteRange(response));
            }
        }
    }
    unreachable!("a plan ends with the end of the outermost txn")
}

/// Reads a range whose revision was checked.
///
/// # Panics
///
/// If it is refused all the same: ending the txn here would leave half of it, and only where
/// someone waits for the answer.
fn read_checked(
    source: &impl Source,
    request: &RangeRequest,
) -> Result<raw::RangeResponse, ReadError> {
    match range::range(source, request) {
        Ok(answer) => Ok(answer.response),
        Err(ReadError::Refused(error)) => panic!("checked range {request:?} is refused: {error}"),
        Err(error) => Err(error),
    }
}

/// Whether both branches hold plain ranges only, so that the txn needs no place in the log.
pub fn is_read_only(txn: &TxnRequest) -> bool {
    all_ranges(txn).all(|range| range.is_some())
}

/// Whether a read-only txn may answer from what this member has: every range of both branches is
/// serializable. A txn without operations is.
pub fn is_serializable(txn: &TxnRequest) -> bool {
    all_ranges(txn).all(|range| range.is_some_and(|range| range.serializable))
}

/// Each operation of both branches, as a range if it is one.
fn all_ranges(txn: &TxnRequest) -> impl Iterator<Item = Option<&RangeRequest>> {
    txn.success.iter().chain(&txn.failure).map(|op| match &op.request {
        Some(request_op::Request::RequestRange(range)) => Some(range),
        Some(
            request_op::Request::RequestPut(_)
            | request_op::Request::RequestDeleteRange(_)
            | request_op::Request::RequestTxn(_),
        )
        | None => None,
    })
}

/// A read-only txn's answer, and the newest revision when it was read.
#[derive(Debug)]
pub struct TxnAnswer {
    /// The answer, without the outer header.
    pub response: raw::TxnResponse,
    /// What its header must say.
    pub revision: i64,
}

/// Answers a txn whose branches hold plain ranges only, from one state of the store.
///
/// # Errors
///
/// Refused by an operation, or because the txn is not read-only ([`ApplyError::KeyNotFound`]);
/// the store's own failures.
pub fn read_txn(store: &mvcc::Store, txn: &TxnRequest) -> Result<TxnAnswer, ReadError> {
    loop {
        let pinned = Pinned::newest(store);
        match read(&pinned, txn) {
            // Compaction overtook the state that was read: read the newest one again.
            Err(ReadError::Refused(ApplyError::Compacted)) if pinned.is_compacted() => {}
            outcome => return outcome,
        }
    }
}

/// As [`read_txn`], from a source that does not move meanwhile.
pub(crate) fn read(source: &impl Source, txn: &TxnRequest) -> Result<TxnAnswer, ReadError> {
    let steps = plan(source, txn)?;
    check(source, None, &steps)?;
    let revision = source.revision();
    let mut answers = Answers::new(true);
    for step in &steps {
        match step {
            Step::Begin { succeeded } => answers.begin(*succeeded),
            Step::End => {
                if let Some(response) = answers.end() {
                    return Ok(TxnAnswer { response, revision });
                }
            }
            Step::Range(request) => {
                let mut response = range::range(source, request)?.response;
                response.header = op_header(revision);
                answers.push(raw::Response::ResponseRange(response));
            }
            Step::Put(_) | Step::Delete(_) => return Err(ApplyError::KeyNotFound.into()),
        }
    }
    unreachable!("a plan ends with the end of the outermost txn")
}

/// Operations of a txn carry a header with nothing but the revision.
fn op_header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

/// The answer in the making: one open response per txn that has begun.
struct Answers {
    wanted: bool,
    open: Vec<raw::TxnResponse>,
}

impl Answers {
    fn new(wanted: bool) -> Self {
        Self { wanted, open: Vec::new() }
    }

    fn begin(&mut self, succeeded: bool) {
        let nested = !self.open.is_empty();
        // A nested txn has a header without content; the outer one is filled by the server.
        let header = nested.then(ResponseHeader::default);
        self.open.push(raw::TxnResponse { header, succeeded, responses: Vec::new() });
    }

    /// Ends the txn that began last; gives the whole answer if that was the outermost.
    fn end(&mut self) -> Option<raw::TxnResponse> {
        let done = self.open.pop()?;
        if self.open.is_empty() {
            return Some(done);
        }
        self.push(raw::Response::ResponseTxn(done));
        None
    }

    fn push(&mut self, response: raw::Response) {
        if self.wanted
            && let Some(open) = self.open.last_mut()
        {
            open.responses.push(raw::ResponseOp { response: Some(response) });
        }
    }
}
