//! What takes etcd's five seconds, all at the same time.

use super::{answers, fake_peer, pressure, probes};

#[tokio::test]
async fn five_seconds_change_much() {
    tokio::join!(
        answers::an_idle_connection_and_half_a_request_end_after_a_while(),
        fake_peer::a_silent_stream_is_given_up_after_5_s(),
        pressure::a_reader_that_stops_is_dropped_and_delays_nobody(),
        probes::round_trips_are_measured(),
    );
}
