//! Reads at revisions, by readers and by the writer itself.

use super::*;
use crate::{Error, EventKind, Found, History as _};

#[test]
fn first_revision_is_two_and_each_entry_takes_one() {
    let mut f = Fixture::new();
    assert_eq!(f.store.current_revision(), 1);
    let changes = f.put("a", "1");
    assert_eq!((changes.revision, changes.events[0].rev), (2, rev(2, 0)));
    f.writer.put(&bytes("b"), b"2", 0);
    f.writer.put(&bytes("c"), b"3", 0);
    let changes = f.end();
    let revs: Vec<_> = changes.events.iter().map(|event| event.rev).collect();
    assert_eq!(revs, [rev(3, 0), rev(3, 1)]);
    assert_eq!(f.store.current_revision(), 3);
}

#[test]
fn a_delete_that_finds_nothing_takes_no_revision() {
    let mut f = Fixture::new();
    f.put("a", "1");
    assert_eq!(f.delete("b"), None);
    assert_eq!(f.store.current_revision(), 2);
}

#[test]
fn a_delete_ends_the_generation() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("a", "2");
    f.delete("a");
    f.put("a", "3");
    let row = f.store.pair(&bytes("a")).expect("read").expect("it lives");
    let kv = KeyValue::decode(&row).expect("a pair");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn every_revision_above_the_compacted_one_can_be_read() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("b", "1");
    f.put("a", "2");
    f.delete("b");
    assert_eq!(f.pairs(&all(), 2), ["a=1@2"]);
    assert_eq!(f.pairs(&all(), 3), ["a=1@2", "b=1@3"]);
    assert_eq!(f.pairs(&all(), 4), ["a=2@4", "b=1@3"]);
    assert_eq!(f.pairs(&all(), 0), ["a=2@4"]);
    assert!(matches!(f.store.pairs(&all(), 6, 1), Err(Error::FutureRev)));
    f.compact(4);
    assert_eq!(f.pairs(&all(), 4), ["a=2@4", "b=1@3"]);
    assert!(matches!(f.store.pairs(&all(), 3, 1), Err(Error::Compacted)));
    assert!(matches!(f.store.metas(&all(), 3, 1), Err(Error::Compacted)));
    assert!(matches!(f.store.count(&all(), 3), Err(Error::Compacted)));
}

#[test]
fn a_limit_cuts_the_answer_but_not_the_count() {
    let mut f = Fixture::new();
    for key in ["a", "b", "c", "d"] {
        f.put(key, "x");
    }
    f.delete("b");
    let found = f.store.pairs(&all(), 0, 2).expect("read");
    assert_eq!(found.items.iter().map(|row| show(row)).collect::<Vec<_>>(), ["a=x@2", "c=x@4"]);
    assert_eq!((found.count, found.revision), (3, 6));
    let found = f.store.pairs(&all(), 5, 0).expect("read");
    assert_eq!(found, Found { items: Vec::new(), count: 4, revision: 6 });
    let one = KeyRange::single("c");
    assert_eq!(f.store.pairs(&one, 0, 0).expect("read").count, 1);
    assert_eq!(f.store.count(&one, 3).expect("read").count, 0);
    assert_eq!(f.store.count(&KeyRange::new("c", "b"), 0).expect("read").count, 0);
}

#[test]
fn long_ranges_are_read_in_pieces() {
    let mut f = Fixture::new();
    for i in 0..2000 {
        f.writer.put(&bytes(&format!("k{i:04}")), b"v", 0);
    }
    f.end();
    f.writer.delete_range(&KeyRange::new("k0100", "k0900"));
    f.end();
    assert_eq!(f.pairs(&all(), 0).len(), 1200);
    assert_eq!(f.pairs(&all(), 2).len(), 2000);
    let found = f.store.metas(&all(), 0, 600).expect("read");
    assert_eq!((found.items.len(), found.count), (600, 1200));
    assert_eq!(&found.items[599].key[..], b"k1399");
}

/// Rows are walked over, in one piece or some, or looked up, by how their revisions lie.
#[test]
fn pages_hold_the_pairs_however_their_revisions_lie() {
    let orders: [fn(usize) -> usize; 3] =
        [|i| i, |i| (9 - i / 70) * 70 + i % 70, |i| i * 211 % 700];
    for (number, order) in orders.into_iter().enumerate() {
        let mut f = Fixture::new();
        for i in 0..700 {
            let key = format!("k{:04}", order(i));
            f.writer.put(&bytes(&key), key.as_bytes(), 0);
            // In one request, in some, in one each.
            if i % [700, 5, 1][number] == 0 {
                f.end();
            }
        }
        f.writer.put(&bytes("z"), b"", 0);
        f.end();
        let reads = |limit| f.store.page(&all(), 0, limit).expect("read");
        for limit in [0, 1, 15, 500, usize::MAX] {
            let page = reads(limit);
            let found = f.store.pairs(&all(), 0, limit).expect("read");
            assert_eq!(page.pairs.iter().collect::<Vec<_>>(), found.items, "{number} {limit}");
            assert_eq!(page.pairs.len(), limit.min(701));
            assert_eq!((page.count, page.revision), (701, found.revision));
        }
        for (i, row) in reads(600).pairs.iter().enumerate() {
            let kv = KeyValue::decode(&row).expect("a pair");
            assert_eq!((kv.key, kv.value), (kv.value, format!("k{i:04}").as_bytes()));
        }
        let single = KeyRange::single("k0007");
        for limit in [0, 1] {
            let page = f.store.page(&single, 0, limit).expect("read");
            assert_eq!((page.pairs.len(), page.count), (limit, 1));
        }
    }
}

#[test]
fn a_row_that_is_gone_refuses_the_read_however_it_is_read() {
    for far in [1, 100] {
        let mut f = Fixture::new();
        for i in 0..40 {
            f.put(&format!("k{i:02}"), "v");
            for _ in 1..far {
                f.put("other", "v");
            }
        }
        let revs: Vec<_> = f.store.metas(&KeyRange::new("k", "l"), 0, 40).expect("read").items;
        let revs: Vec<_> = revs.iter().map(|meta| meta.state.modified).collect();
        assert_eq!(f.store.rows(&revs).expect("all are there").len(), 40);
        let mut wrong = revs;
        wrong[39].sub = 7;
        let refused = f.store.rows(&wrong);
        assert!(matches!(refused, Err(Error::Row { rev, .. }) if rev == wrong[39]), "{refused:?}");
    }
}

#[test]
fn the_writer_sees_what_readers_do_not_yet() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("c", "1");
    let w = &mut f.writer;
    w.put(&bytes("b"), b"2", 0);
    w.delete_range(&KeyRange::single("a"));
    w.end_entry();
    w.put(&bytes("d"), b"3", 0);
    let seen = |w: &Writer, at| {
        let found = w.pairs(&all(), at, usize::MAX).expect("read");
        assert_eq!(found.count as usize, found.items.len());
        assert_eq!(w.count(&all(), at).expect("read").count, found.count);
        let metas = w.metas(&all(), at, usize::MAX).expect("read").items;
        assert_eq!(w.rows(&metas).expect("read"), found.items);
        found.items.iter().map(|row| show(row)).collect::<Vec<_>>()
    };
    assert_eq!(seen(w, 0), ["b=2@4", "c=1@3", "d=3@5"]);
    assert_eq!(seen(w, 4), ["b=2@4", "c=1@3"]);
    assert_eq!(seen(w, 3), ["a=1@2", "c=1@3"]);
    assert!(matches!(w.pairs(&all(), 5, 1), Err(Error::FutureRev)), "the entry is not ended");
    assert_eq!((w.revision(), w.revision_of_change()), (4, 5));
    let limited = w.pairs(&all(), 0, 2).expect("read");
    assert_eq!((limited.items.len(), limited.count), (2, 3));
    assert_eq!(w.pair(b"a").expect("read"), None);
    assert_eq!(show(&w.pair(b"b").expect("read").expect("put")), "b=2@4");
    assert_eq!(show(&w.pair(b"c").expect("read").expect("stored")), "c=1@3");
    assert_eq!(f.pairs(&all(), 0), ["a=1@2", "c=1@3"]);
    f.writer.commit().expect("commit");
    assert_eq!(f.pairs(&all(), 0), ["b=2@4", "c=1@3", "d=3@5"]);
}

#[test]
fn a_key_changed_twice_in_a_batch_has_both_states() {
    let mut f = Fixture::new();
    let w = &mut f.writer;
    w.put(&bytes("a"), b"1", 0);
    w.end_entry();
    let before = w.put(&bytes("a"), b"2", 0).expect("it lives");
    assert_eq!((before.modified, before.version), (rev(2, 0), 1));
    w.end_entry();
    assert_eq!(show(&w.pairs(&all(), 2, 1).expect("read").items[0]), "a=1@2");
    assert_eq!(show(&w.pairs(&all(), 3, 1).expect("read").items[0]), "a=2@3");
    w.commit().expect("commit");
    assert_eq!(f.pairs(&all(), 2), ["a=1@2"]);
}

#[test]
fn deletions_share_a_revision_in_key_order() {
    let mut f = Fixture::new();
    for key in ["c", "a", "b", "z"] {
        f.put(key, "x");
    }
    let deleted = f.writer.delete_range(&KeyRange::new("a", "d"));
    assert_eq!(names(&deleted), ["a", "b", "c"]);
    let rows = f.writer.rows(&deleted).expect("read");
    assert_eq!(show(&rows[2]), "c=x@2");
    let changes = f.end();
    let events: Vec<_> = changes.events.iter().map(|e| (e.kind, &e.key[..], e.rev)).collect();
    let delete = |key: &'static str, sub| (EventKind::Delete, key.as_bytes(), rev(6, sub));
    assert_eq!(events, [delete("a", 0), delete("b", 1), delete("c", 2)]);
    // Watchers see the key and the revision of the deletion.
    assert_eq!(hex(&changes.events[0].kv), "0a01611806");
}

#[test]
fn previous_pairs_of_events_are_those_before_the_entry() {
    let mut f = Fixture::new();
    f.put("a", "1");
    let w = &mut f.writer;
    w.put(&bytes("a"), b"2", 0);
    w.delete_range(&KeyRange::single("a"));
    w.put(&bytes("a"), b"3", 0);
    w.put(&bytes("b"), b"1", 0);
    w.delete_range(&KeyRange::single("b"));
    let prevs: Vec<_> = f.end().events.iter().map(|event| event.prev).collect();
    assert_eq!(prevs, [Some(rev(2, 0)), Some(rev(2, 0)), Some(rev(2, 0)), None, None]);
}

#[test]
fn compactions_are_refused_outside_the_live_revisions() {
    let mut f = Fixture::new();
    assert!(matches!(f.writer.compact(-1), Err(Error::Compacted)));
    f.writer.compact(0).expect("accepted once");
    assert!(matches!(f.writer.compact(0), Err(Error::Compacted)));
    f.put("a", "1");
    f.put("a", "2");
    assert!(matches!(f.writer.compact(4), Err(Error::FutureRev)));
    f.writer.compact(3).expect("the current revision");
    assert!(matches!(f.writer.pairs(&all(), 2, 1), Err(Error::Compacted)), "at once");
    assert_eq!(f.pairs(&all(), 2), ["a=1@2"], "for readers at the commit");
    f.writer.commit().expect("commit");
    assert!(matches!(f.store.pairs(&all(), 2, 1), Err(Error::Compacted)));
    f.wait_compacted(3);
    let f = f.restart();
    assert_eq!(f.store.compacted_revision(), 3);
}

#[test]
fn changes_come_in_revision_order_with_tombstones() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.delete("a");
    f.put("b", "1");
    let mut seen = Vec::new();
    f.store
        .scan(3, 4, &mut |row, _| {
            seen.push((row.rev, row.tombstone));
            std::ops::ControlFlow::Continue(())
        })
        .expect("scan");
    assert_eq!(seen, [(rev(3, 0), true), (rev(4, 0), false)]);
    assert_eq!(show(&f.store.pair_at(b"a", 2).expect("it lived")), "a=1@2");
    assert_eq!(f.store.pair_at(b"a", 3), None);
    assert_eq!(show(&f.store.row(rev(4, 0)).expect("stored")), "b=1@4");
    f.compact(3);
    assert_eq!(f.store.pair_at(b"a", 2), None);
    assert_eq!(f.store.row(rev(2, 0)), None);
}
