//! The record of what a request cost, and how it comes about: from a timeline when a request
//! finishes, from its branches when it had several, and step by step for compute time.

use std::time::Duration;

use super::{RequestTimeline, Timestamp};
use crate::finish_reason::FinishReason;

/// Tokens of a request, as `usage` reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCounts {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens generated.
    pub completion: usize,
    /// Prompt tokens served from the prefix cache.
    pub cached: usize,
}

/// What a request cost. Intervals are whole nanoseconds, so that sums of them are exact; an interval
/// whose states were never reached is zero.
///
/// # Guarantees
/// `prefill_time + decode_time == inference_time` and `queued_time + inference_time <= e2e_latency`.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRequestStats {
    /// Why it finished.
    pub reason: FinishReason,
    /// Tokens in, out, and from the cache.
    pub tokens: TokenCounts,
    /// How often it was preempted.
    pub preemptions: u32,
    /// finished − arrival.
    pub e2e_latency: Duration,
    /// scheduled − queued.
    pub queued_time: Duration,
    /// first_token − scheduled.
    pub prefill_time: Duration,
    /// last_token − first_token.
    pub decode_time: Duration,
    /// last_token − scheduled.
    pub inference_time: Duration,
    /// Sum over steps of this request's share of the step; see [`split_step`].
    pub compute_time: Duration,
    /// Seconds: decode time over the tokens after the first; 0 when there are none.
    pub mean_time_per_output_token: f64,
    /// Where the intervals come from.
    pub timeline: RequestTimeline,
    /// When the engine was done with it.
    pub finished: Timestamp,
}

/// What the engine counted for a request, its timeline aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) reason: FinishReason,
    pub(crate) tokens: TokenCounts,
    pub(crate) preemptions: u32,
    pub(crate) compute_time: Duration,
}

impl FinishedRequestStats {
    /// The record of a sequence that finished at `finished`, for whatever reason. The one place where
    /// timestamps become intervals.
    pub(crate) fn new(timeline: RequestTimeline, finished: Timestamp, work: Work) -> Self {
        let decode = interval(timeline.first_token, timeline.last_token);
        let gaps = work.tokens.completion.saturating_sub(1);
        Self::with_mean(timeline, finished, work, mean_seconds(decode, gaps))
    }

    /// The record of a whole request from those of its branches: prompt and cached tokens counted
    /// once (the first branch's), completion tokens and compute time summed, the first states the
    /// earliest and the last ones the latest. `None` without branches.
    pub fn aggregate(branches: &[Self]) -> Option<Self> {
        let first = branches.first()?;
        let earliest = |at: fn(&RequestTimeline) -> Option<Timestamp>| {
            branches.iter().filter_map(|b| at(&b.timeline)).min()
        };
        let timeline = RequestTimeline {
            arrival: branches.iter().map(|b| b.timeline.arrival).min()?,
            queued: branches.iter().map(|b| b.timeline.queued).min()?,
            scheduled: earliest(|t| t.scheduled),
            first_token: earliest(|t| t.first_token),
            last_token: branches.iter().filter_map(|b| b.timeline.last_token).max(),
        };
        let finished = branches.iter().map(|b| b.finished).max()?;
        let completion = branches.iter().map(|b| b.tokens.completion);
        let work = Work {
            reason: first.reason,
            tokens: TokenCounts {
                completion: completion.clone().sum(),
                ..first.tokens
            },
            preemptions: branches.iter().map(|b| b.preemptions).sum(),
            compute_time: branches.iter().map(|b| b.compute_time).sum(),
        };
        let decode: Duration = branches.iter().map(|b| b.decode_time).sum();
        let gaps = completion.map(|n| n.saturating_sub(1)).sum();
        Some(Self::with_mean(
            timeline,
            finished,
            work,
            mean_seconds(decode, gaps),
        ))
    }

    fn with_mean(timeline: RequestTimeline, finished: Timestamp, work: Work, mean: f64) -> Self {
        let Work {
            reason,
            tokens,
            preemptions,
            compute_time,
        } = work;
        let prefill_time = interval(timeline.scheduled, timeline.first_token);
        let decode_time = interval(timeline.first_token, timeline.last_token);
        Self {
            reason,
            tokens,
            preemptions,
            e2e_latency: finished.since(timeline.arrival),
            queued_time: interval(Some(timeline.queued), timeline.scheduled),
            prefill_time,
            decode_time,
            inference_time: prefill_time + decode_time,
            compute_time,
            mean_time_per_output_token: mean,
            timeline,
            finished,
        }
    }
}

fn interval(from: Option<Timestamp>, to: Option<Timestamp>) -> Duration {
    from.zip(to)
        .map(|(from, to)| to.since(from))
        .unwrap_or_default()
}

fn mean_seconds(total: Duration, count: usize) -> f64 {
    if count == 0 {
        0.0
    } else {
        total.as_secs_f64() / count as f64
    }
}

/// Divides a step among its sequences in proportion to the tokens each put through it. The shares,
/// in the order of `tokens`, add up to `step` to the nanosecond: each ends where its part of the
/// running total ends, rounded down.
pub fn split_step(step: Duration, tokens: &[usize]) -> impl Iterator<Item = Duration> {
    let total: u128 = tokens.iter().map(|&n| n as u128).sum();
    let (mut before, mut given) = (0u128, 0u128);
    tokens.iter().map(move |&n| {
        before += n as u128;
        let upto = step.as_nanos() * before / total.max(1);
        let share = upto - given;
        given = upto;
        Duration::from_nanos(u64::try_from(share).expect("a step is shorter than 584 years"))
    })
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
