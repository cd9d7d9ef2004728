//! Ranges: select by key, filter by revision, sort, cut to the limit.
//!
//! Everything but the sort by value is decided in the index; rows are fetched for the keys that
//! are answered, and not at all for keys-only answers.

use base::{KeyRange, Revision};
use bytes::Bytes;
use mvcc::{Found, KeyMeta};
use prost::Message;
use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::mvccpb::KeyValue;
use proto::raw::{self, Pairs};

use crate::error::ApplyError;
use crate::source::{ReadError, Source};

/// A range's answer, and the newest revision when it was read.
#[derive(Debug)]
pub struct RangeAnswer {
    /// The answer, without header.
    pub response: raw::RangeResponse,
    /// What its header must say.
    pub revision: i64,
}

/// Reads a range.
///
/// The arguments were checked by whoever let the request in; undefined sort numbers count as
/// unsorted.
///
/// # Errors
///
/// Refused if the asked revision is compacted or in the future; the store's own failures.
pub fn range(source: &impl Source, request: &RangeRequest) -> Result<RangeAnswer, ReadError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match range_once(source, request) {
            // Keys and rows are read one after the other; a compaction came between.
            Err(ReadError::Refused(ApplyError::Compacted))
                if request.revision <= 0 && attempts < NEWEST_ATTEMPTS_MAX => {}
            outcome => return outcome,
        }
    }
}

/// How often a read of the newest state starts anew because a compaction overtook it.
const NEWEST_ATTEMPTS_MAX: usize = 8;

fn range_once(source: &impl Source, request: &RangeRequest) -> Result<RangeAnswer, ReadError> {
    let keys = KeyRange { key: request.key.clone(), end: request.range_end.clone() };
    if request.count_only {
        let found = source.count(&keys, request.revision)?;
        return Ok(answer(Pairs::default(), false, found.count, found.revision));
    }
    let wish = Wish::of(request);
    if wish.in_key_order() {
        let most = wish.limit.unwrap_or(usize::MAX);
        return if request.keys_only {
            let found = source.metas(&keys, request.revision, most)?;
            let kvs = found.items.iter().map(encode_key_only).collect();
            Ok(cut_answer(&wish, kvs, found.count, found.revision))
        } else {
            let page = source.page(&keys, request.revision, most)?;
            Ok(cut_answer(&wish, page.pairs, page.count, page.revision))
        };
    }
    let Found { items: mut metas, count, revision } =
        source.metas(&keys, request.revision, wish.read_limit())?;
    wish.filter.retain(&mut metas);
    let more = wish.limit.is_some_and(|limit| metas.len() > limit);
    let kvs = if wish.target == SortTarget::Value {
        by_value(source, &wish, metas, request.keys_only)?
    } else {
        sort_metas(&wish, &mut metas);
        metas.truncate(wish.limit.unwrap_or(usize::MAX));
        if request.keys_only {
            metas.iter().map(encode_key_only).collect()
        } else {
            source.rows(&metas)?.into_iter().collect()
        }
    };
    Ok(answer(kvs, more, count, revision))
}

/// What a request asks beyond keys and revision.
struct Wish {
    order: SortOrder,
    target: SortTarget,
    limit: Option<usize>,
    filter: Filter,
}

impl Wish {
    fn of(request: &RangeRequest) -> Self {
        Self {
            order: SortOrder::try_from(request.sort_order).unwrap_or(SortOrder::None),
            target: SortTarget::try_from(request.sort_target).unwrap_or(SortTarget::Key),
            limit: usize::try_from(request.limit).ok().filter(|&limit| limit > 0),
            filter: Filter {
                modified: Bounds::new(request.min_mod_revision, request.max_mod_revision),
                created: Bounds::new(request.min_create_revision, request.max_create_revision),
            },
        }
    }

    /// Whether the first keys of the range are the answer.
    fn in_key_order(&self) -> bool {
        self.target == SortTarget::Key
            && self.order != SortOrder::Descend
            && self.filter.passes_all()
    }

    /// How many keys to read before filtering and sorting.
    ///
    /// etcd 3.7: without an explicit order and without filters the limit cuts the *key* order,
    /// one more than asked; only those are sorted by the target.
    fn read_limit(&self) -> usize {
        match self.limit {
            Some(limit) if self.order == SortOrder::None && self.filter.passes_all() => {
                limit.saturating_add(1)
            }
            Some(_) | None => usize::MAX,
        }
    }
}

/// Inclusive bounds; 0 is no bound.
#[derive(Clone, Copy)]
struct Bounds {
    min: i64,
    max: i64,
}

impl Bounds {
    fn new(min: i64, max: i64) -> Self {
        Self { min, max }
    }

    fn pass_all(self) -> bool {
        self.min == 0 && self.max == 0
    }

    fn contain(self, value: i64) -> bool {
        (self.min == 0 || value >= self.min) && (self.max == 0 || value <= self.max)
    }
}

struct Filter {
    modified: Bounds,
    created: Bounds,
}

impl Filter {
    fn passes_all(&self) -> bool {
        self.modified.pass_all() && self.created.pass_all()
    }

    fn retain(&self, metas: &mut Vec<KeyMeta>) {
        if !self.passes_all() {
            metas.retain(|meta| {
                self.modified.contain(meta.state.modified.main)
                    && self.created.contain(meta.state.created.main)
            });
        }
    }
}

fn sort_metas(wish: &Wish, metas: &mut [KeyMeta]) {
    match wish.target {
        // They came in key order; values are sorted with their rows.
        SortTarget::Key | SortTarget::Value => {}
        SortTarget::Version => metas.sort_by_key(|meta| meta.state.version),
        SortTarget::Create => metas.sort_by_key(|meta| meta.state.created.main),
        SortTarget::Mod => metas.sort_by_key(|meta| meta.state.modified.main),
    }
    if wish.order == SortOrder::Descend {
        metas.reverse();
    }
}

fn by_value(
    source: &impl Source,
    wish: &Wish,
    metas: Vec<KeyMeta>,
    keys_only: bool,
) -> Result<Pairs, ReadError> {
    let mut pairs = Vec::with_capacity(metas.len());
    for row in source.rows(&metas)? {
        let pair = decode_pair(&row)?;
        pairs.push((row, pair));
    }
    pairs.sort_by(|(_, a), (_, b)| a.value.cmp(&b.value));
    if wish.order == SortOrder::Descend {
        pairs.reverse();
    }
    pairs.truncate(wish.limit.unwrap_or(usize::MAX));
    Ok(pairs
        .into_iter()
        .map(|(row, mut pair)| {
            if keys_only {
                pair.value = Bytes::new();
                pair.encode_to_vec().into()
            } else {
                row
            }
        })
        .collect())
}

/// Decodes a stored pair.
pub(crate) fn decode_pair(row: &Bytes) -> Result<KeyValue, ReadError> {
    KeyValue::decode(row.clone()).map_err(|_| {
        let rev = Revision::default();
        ReadError::Store(mvcc::Error::Row { rev, detail: "it is no key-value pair" })
    })
}

/// A pair from the index alone: value and lease are left out.
fn encode_key_only(meta: &KeyMeta) -> Bytes {
    let pair = KeyValue {
        key: meta.key.clone(),
        create_revision: meta.state.created.main,
        mod_revision: meta.state.modified.main,
        version: meta.state.version,
        ..KeyValue::default()
    };
    pair.encode_to_vec().into()
}

fn cut_answer(wish: &Wish, kvs: Pairs, count: i64, revision: i64) -> RangeAnswer {
    let more = wish.limit.is_some() && i64::try_from(kvs.len()).unwrap_or(i64::MAX) < count;
    answer(kvs, more, count, revision)
}

fn answer(kvs: Pairs, more: bool, count: i64, revision: i64) -> RangeAnswer {
    RangeAnswer { response: raw::RangeResponse { header: None, kvs, more, count }, revision }
}
