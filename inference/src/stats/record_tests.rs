//! The vectors of the stats contract, and the identities that hold for every record.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::stats::{RequestMetrics, header_values};

fn at(seconds: f64) -> Timestamp {
    Timestamp::after_start(Duration::from_secs_f64(seconds))
}

fn work(prompt: usize, completion: usize, cached: usize) -> Work {
    Work {
        reason: FinishReason::Stop,
        tokens: TokenCounts {
            prompt,
            completion,
            cached,
        },
        preemptions: 0,
        compute_time: Duration::ZERO,
    }
}

fn timeline(arrival: f64, queued: f64, scheduled: f64, first: f64, last: f64) -> RequestTimeline {
    RequestTimeline {
        arrival: at(arrival),
        queued: at(queued),
        scheduled: Some(at(scheduled)),
        first_token: Some(at(first)),
        last_token: Some(at(last)),
    }
}

#[test]
fn header_vector_of_the_contract() {
    let mut record = FinishedRequestStats::new(
        timeline(0.0, 0.5, 0.55, 0.65, 0.95),
        at(1.0),
        work(50, 10, 5),
    );
    record.mean_time_per_output_token = 0.03;
    let expected = [
        "1000.00", "50.00", "400.00", "100.00", "300.00", "50", "10", "5", "30.00", "0.00",
    ];
    assert_eq!(header_values(&record), expected);
}

#[test]
fn body_vector_of_the_contract() {
    let record =
        FinishedRequestStats::new(timeline(0.5, 1.0, 1.5, 2.0, 3.0), at(3.0), work(4, 10, 0));
    let metrics = RequestMetrics::new(&record);
    assert_eq!(metrics.time_to_first_token_ms, Some(500.0));
    assert_eq!(metrics.queue_time_ms, Some(500.0));
    assert_eq!(metrics.generation_time_ms, Some(1000.0));
    assert!((metrics.mean_itl_ms.unwrap() - 1000.0 / 9.0).abs() < 1e-9);
    assert!((metrics.tokens_per_second.unwrap() - 10.0 / 1.5).abs() < 1e-9);
}

#[test]
fn a_request_aborted_in_the_queue_has_zero_intervals_and_no_members() {
    let record = FinishedRequestStats::new(
        RequestTimeline::new(at(1.0), at(1.5)),
        at(2.0),
        work(7, 0, 0),
    );
    assert_eq!(record.e2e_latency, Duration::from_secs(1));
    assert_eq!(record.queued_time + record.inference_time, Duration::ZERO);
    let members = RequestMetrics::new(&record).without_nulls();
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "prefill_time_ms",
            "inference_time_ms",
            "total_time_ms",
            "compute_time_ms",
            "cached_tokens"
        ]
    );
    assert_eq!(
        serde_json::to_value(RequestMetrics::new(&record)).unwrap()["mean_itl_ms"],
        json!(null)
    );
}

#[test]
fn one_token_has_no_time_per_output_token() {
    let record =
        FinishedRequestStats::new(timeline(0.0, 0.0, 0.0, 0.5, 0.5), at(0.5), work(3, 1, 0));
    assert_eq!(record.mean_time_per_output_token, 0.0);
    assert_eq!(header_values(&record)[8], "0.00");
    assert_eq!(RequestMetrics::new(&record).mean_itl_ms, None);
}

#[test]
fn branches_add_up_to_one_request() {
    let first =
        FinishedRequestStats::new(timeline(0.0, 1.0, 2.0, 3.0, 5.0), at(5.0), work(8, 3, 2));
    let second =
        FinishedRequestStats::new(timeline(0.0, 1.0, 2.5, 4.0, 9.0), at(9.5), work(8, 6, 0));
    let whole = FinishedRequestStats::aggregate(&[first, second]).unwrap();
    assert_eq!(
        whole.tokens,
        TokenCounts {
            prompt: 8,
            completion: 9,
            cached: 2
        }
    );
    assert_eq!(whole.queued_time, Duration::from_secs(1));
    assert_eq!(whole.prefill_time, Duration::from_secs(1));
    assert_eq!(whole.decode_time, Duration::from_secs(6));
    assert_eq!(whole.e2e_latency, Duration::from_secs_f64(9.5));
    assert!((whole.mean_time_per_output_token - 7.0 / 7.0).abs() < 1e-12);
}

fn any_record() -> impl Strategy<Value = FinishedRequestStats> {
    let gap = 0u64..10_000_000_000;
    (
        [gap.clone(), gap.clone(), gap.clone(), gap.clone(), gap],
        0..5usize,
        0..5usize,
        0..1000u64,
    )
        .prop_map(|(gaps, reached, completion, compute)| {
            let mut now = 0;
            let mut next = |gap: u64| {
                now += gap;
                Timestamp::after_start(Duration::from_nanos(now))
            };
            let mut timeline = RequestTimeline::new(next(gaps[0]), next(gaps[1]));
            if reached > 0 {
                timeline.mark_scheduled(next(gaps[2]));
            }
            for gap in gaps.iter().take(reached.saturating_sub(1)) {
                timeline.mark_token(next(*gap));
            }
            let compute_time = Duration::from_nanos(compute);
            let work = Work {
                compute_time,
                ..work(5, completion, 0)
            };
            FinishedRequestStats::new(timeline, next(gaps[4]), work)
        })
}

fn assert_identities(record: &FinishedRequestStats) {
    assert_eq!(
        record.prefill_time + record.decode_time,
        record.inference_time
    );
    assert!(
        record.queued_time + record.inference_time <= record.e2e_latency,
        "{record:?}"
    );
    assert!(record.mean_time_per_output_token >= 0.0);
}

proptest! {
    #[test]
    fn identities_hold_for_every_record(record in any_record()) {
        assert_identities(&record);
    }

    #[test]
    fn identities_hold_for_aggregates(branches in prop::collection::vec(any_record(), 1..5)) {
        let whole = FinishedRequestStats::aggregate(&branches).unwrap();
        assert_identities(&whole);
        let compute: Duration = branches.iter().map(|b| b.compute_time).sum();
        prop_assert_eq!(whole.compute_time, compute);
    }

    #[test]
    fn shares_add_up_to_the_step(nanos in 0u64..1 << 40, tokens in prop::collection::vec(1usize..600, 1..64)) {
        let step = Duration::from_nanos(nanos);
        let shares: Vec<Duration> = split_step(step, &tokens).collect();
        prop_assert_eq!(shares.iter().sum::<Duration>(), step);
        let total: usize = tokens.iter().sum();
        for (share, n) in shares.iter().zip(&tokens) {
            let fair = nanos as f64 * *n as f64 / total as f64;
            prop_assert!((share.as_nanos() as f64 - fair).abs() <= 1.0);
        }
    }
}
