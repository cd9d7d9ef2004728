use bytes::BytesMut;

use super::*;

/// A response with events of these value lengths.
fn response(value_lens: &[usize]) -> WatchResponse {
    let mut events = BytesMut::new();
    for &len in value_lens {
        proto::raw::encode_event(0, &vec![b'v'; len], None, &mut events);
    }
    WatchResponse { watch_id: 3, events: events.freeze(), ..WatchResponse::default() }
}

fn lens(parts: &VecDeque<WatchResponse>) -> Vec<usize> {
    parts.iter().map(|part| part.events.len()).collect()
}

#[test]
fn parts_stay_below_the_limit_and_make_up_the_whole() {
    let whole = response(&[1000; 10]);
    let event = whole.events.len() / 10;
    let parts = split(&whole, 3100);
    assert_eq!(lens(&parts), [3 * event, 3 * event, 3 * event, event]);
    assert!(parts.iter().all(|part| part.encoded_len() < 3100 && part.watch_id == 3));
    let flags: Vec<bool> = parts.iter().map(|part| part.fragment).collect();
    assert_eq!(flags, [true, true, true, false]);
    let joined: Vec<u8> = parts.iter().flat_map(|part| part.events.to_vec()).collect();
    assert_eq!(joined, whole.events);
}

#[test]
fn an_event_beyond_the_limit_is_a_part_of_its_own() {
    let whole = response(&[5000, 10, 5000]);
    let parts = split(&whole, 1000);
    assert_eq!(parts.len(), 3);
    assert!(!parts[2].fragment && parts[0].fragment && parts[1].fragment);
}
