//! Events as bytes that many watchers share.

use bytes::{Bytes, BytesMut};
use proto::raw::encode_event;

use super::history::{History, is_creation, take_varint};
use crate::change::{Changes, Event, EventKind};

/// All events of a change in one buffer.
#[derive(Debug)]
struct Encoding {
    bytes: Bytes,
    /// Where each event ends.
    ends: Vec<usize>,
}

/// The events of a change, encoded on demand with and without previous pairs.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    plain: Option<Encoding>,
    with_prev: Option<Encoding>,
}

impl Encoded {
    /// The events with the given ascending numbers.
    #[inline]
    pub(super) fn events(
        &mut self,
        change: &Changes,
        history: &dyn History,
        numbers: &[u32],
        prev: bool,
    ) -> Bytes {
        let known = if prev { &mut self.with_prev } else { &mut self.plain };
        let encoding = known.get_or_insert_with(|| encode(change, history, prev));
        let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else {
            return Bytes::new();
        };
        let (first, last) = (first as usize, last as usize);
        if numbers.len() == encoding.ends.len() {
            return encoding.bytes.clone();
        }
        if last - first + 1 == numbers.len() {
            return encoding.bytes.slice(encoding.start(first)..encoding.ends[last]);
        }
        let parts = numbers.iter().map(|&i| encoding.start(i as usize)..encoding.ends[i as usize]);
        let mut picked = BytesMut::with_capacity(parts.clone().map(|part| part.len()).sum());
        for part in parts {
            picked.extend_from_slice(&encoding.bytes[part]);
        }
        picked.freeze()
    }
}

impl Encoding {
    fn start(&self, i: usize) -> usize {
        if i == 0 { 0 } else { self.ends[i - 1] }
    }
}

fn encode(change: &Changes, history: &dyn History, with_prev: bool) -> Encoding {
    let mut buf = BytesMut::new();
    let mut ends = Vec::with_capacity(change.events.len());
    for event in &change.events {
        let prev = if with_prev { previous(event, change.revision, history) } else { None };
        encode_event(event.kind as i32, &event.kv, prev.as_deref(), &mut buf);
        ends.push(buf.len());
    }
    Encoding { bytes: buf.freeze(), ends }
}

/// The pair before the request at main revision `main`: none for a creation, or if the revision
/// below `main` is compacted.
fn previous(event: &Event, main: i64, history: &dyn History) -> Option<Bytes> {
    let prev = event.prev?;
    // Put anew after a deletion in the same request.
    if event.kind == EventKind::Put && is_creation(&event.kv) {
        return None;
    }
    if history.compacted_revision() >= main { None } else { history.row(prev) }
}

/// The lengths, tags included, of the single events in the bytes of [`super::Body::Events`]: a
/// response may be split where one ends.
pub fn event_lengths(events: &[u8]) -> impl Iterator<Item = usize> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut body = rest.get(1..)?;
        let len = usize::try_from(take_varint(&mut body)?).ok()?;
        let after = body.get(len..)?;
        let length = rest.len() - after.len();
        rest = after;
        Some(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_can_be_told_apart_in_their_bytes() {
        let mut buf = BytesMut::new();
        let mut expected = Vec::new();
        for size in [0usize, 1, 100, 130, 70_000] {
            let before = buf.len();
            encode_event(1, &vec![7; size], Some(b"prev"), &mut buf);
            expected.push(buf.len() - before);
        }
        assert_eq!(event_lengths(&buf).collect::<Vec<_>>(), expected);
        assert_eq!(event_lengths(b"").count(), 0);
    }
}
