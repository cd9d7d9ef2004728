//! Probes of a peer: round trip and difference of clocks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, StatusCode, Uri};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Body;
use crate::limits::{
    CLOCK_DIFFERENCE_MAX, ERROR_TEXT_BYTES_MAX, IO_TIMEOUT, PROBE_INTERVAL, PROBE_LOOK,
    PROBE_LOOK_UNHEALTHY,
};
use crate::link::{Link, RequestError};
use crate::peer::Peer;
use crate::transport::Shared;

pub(crate) const PATH: &str = "/raft/probing";
/// The share of a new round trip in the smoothed one: an eighth, as TCP has it.
const SMOOTHING: u32 = 8;

/// The answer to a probe.
pub(crate) fn answer(now: SystemTime) -> String {
    format!("{{\"OK\":true,\"Now\":\"{}\"}}\n", base::time::Rfc3339Nano(now))
}

/// Why a probe came to nothing.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("the answer is not that of a member")]
    Answer,
    #[error("no answer in time")]
    Late,
}

/// What one probe has shown.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sent: SystemTime,
    round_trip: Duration,
    /// The peer's clock.
    remote: SystemTime,
}

/// What the probes have shown together.
#[derive(Debug, Default)]
struct Health {
    healthy: bool,
    /// Why the last probe failed, if it did.
    error: Option<ProbeError>,
    round_trip: Option<Duration>,
    clock_difference: Duration,
}

impl Health {
    fn note(&mut self, seen: Result<Seen, ProbeError>) {
        self.healthy = seen.is_ok();
        match seen {
            Ok(Seen { sent, round_trip, remote }) => {
                let before = self.round_trip.unwrap_or(round_trip);
                self.round_trip = Some((before * (SMOOTHING - 1) + round_trip) / SMOOTHING);
                let ahead = remote.duration_since(sent + round_trip / 2);
                self.clock_difference = ahead.unwrap_or_else(|behind| behind.duration());
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Counts and tells what there is to tell; the time until the next look.
    fn look(&self, peer: &Peer) -> Duration {
        let id = format!("{:x}", peer.id);
        if self.clock_difference > CLOCK_DIFFERENCE_MAX {
            let difference = format!("{:?}", self.clock_difference);
            tracing::warn!("remote-peer-id" = id, difference, "prober found high clock drift");
        }
        if let Some(round_trip) = self.round_trip {
            peer.counters.round_trip.observe(round_trip);
        }
        if self.healthy {
            return PROBE_LOOK;
        }
        let error = self.error.as_ref().map(ToString::to_string);
        let rtt = self.round_trip.unwrap_or_default().as_nanos();
        let rtt = base::text::format_duration(i64::try_from(rtt).unwrap_or(i64::MAX));
        tracing::warn!(
            "round-tripper-name" = "ROUND_TRIPPER_RAFT_MESSAGE",
            "remote-peer-id" = id,
            rtt,
            error,
            "prober detected unhealthy status"
        );
        PROBE_LOOK_UNHEALTHY
    }
}

/// Probes the peer until it is stopped.
pub(crate) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut health = Health::default();
    let mut look = Instant::now() + PROBE_LOOK_UNHEALTHY;
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let probed = timeout(IO_TIMEOUT, probe(&shared, &peer, kept.take())).await;
                health.note(probed.unwrap_or(Err(ProbeError::Late)).map(|(link, seen)| {
                    kept = Some(link);
                    seen
                }));
            }
            () = tokio::time::sleep_until(look) => look = Instant::now() + health.look(&peer),
        }
    }
}

/// One probe, on the connection that was kept or on a new one, which can be used again.
async fn probe(
    shared: &Shared,
    peer: &Peer,
    kept: Option<Link>,
) -> Result<(Link, Seen), ProbeError> {
    let url = peer.urls.pick();
    if let Some(link) = kept.filter(|link| link.url() == url)
        && let Ok(probed) = ask(link).await
    {
        return Ok(probed);
    }
    ask(Link::open(&*shared.dial, &url, shared.times).await?).await
}

async fn ask(mut link: Link) -> Result<(Link, Seen), ProbeError> {
    let mut request = Request::new(Body::whole(""));
    *request.uri_mut() = Uri::from_static(PATH);
    let (sent, started) = (SystemTime::now(), Instant::now());
    let (head, mut body) = link.ask(request).await?.into_parts();
    let round_trip = started.elapsed();
    let text = link.whole(&mut body, ERROR_TEXT_BYTES_MAX).await?;
    let remote = remote_clock(&text).filter(|_| head.status == StatusCode::OK);
    let remote = remote.ok_or(ProbeError::Answer)?;
    Ok((link, Seen { sent, round_trip, remote }))
}

/// The moment in the answer to a probe.
fn remote_clock(answer: &[u8]) -> Option<SystemTime> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let now = answer["Now"].as_str().filter(|_| answer["OK"] == true)?;
    base::time::parse_rfc3339(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counters;

    #[test]
    fn an_answer_names_the_moment() {
        let at = base::time::parse_rfc3339("2026-11-22T14:25:46.947810746Z").expect("a moment");
        assert_eq!(answer(at), "{\"OK\":true,\"Now\":\"2026-11-22T14:25:46.947810746Z\"}\n");
    }

    #[test]
    fn round_trips_are_smoothed_and_clocks_compared() {
        let mut health = Health::default();
        let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let ms = Duration::from_millis;
        let seen = |round_trip, remote| Ok(Seen { sent, round_trip, remote });
        health.note(seen(ms(8), sent + ms(4)));
        assert_eq!((health.round_trip, health.clock_difference), (Some(ms(8)), ms(0)));
        health.note(seen(ms(16), sent - ms(2992)));
        assert_eq!((health.round_trip, health.clock_difference), (Some(ms(9)), ms(3000)));
        health.note(Err(ProbeError::Late));
        assert_eq!(health.round_trip, Some(ms(9)));
        assert!(!health.healthy);
    }

    #[test]
    fn only_a_members_answer_has_a_clock() {
        let now = SystemTime::now();
        assert_eq!(remote_clock(answer(now).as_bytes()), Some(now));
        for other in ["", "OK", "{}", "{\"OK\":false,\"Now\":\"2026-11-22T14:25:46Z\"}"] {
            assert_eq!(remote_clock(other.as_bytes()), None);
        }
    }

    #[test]
    fn a_look_counts_the_round_trip_and_comes_sooner_while_unhealthy() {
        let peer = Peer::new(2, vec![], Counters::new().of(2));
        let mut health = Health::default();
        assert_eq!(health.look(&peer), PROBE_LOOK_UNHEALTHY);
        let now = SystemTime::now();
        let round_trip = Duration::from_millis(1);
        health.note(Ok(Seen { sent: now, round_trip, remote: now }));
        assert_eq!(health.look(&peer), PROBE_LOOK);
        let counted = peer.counters.read().round_trip.counts;
        assert_eq!((counted.iter().sum::<u64>(), counted[4]), (1, 1), "up to 1.6 ms");
    }
}
