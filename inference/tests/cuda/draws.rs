//! Tokens and log probabilities that the device makes, against those that the host makes of the same logits.

use candela_engine::sampling::{
    Chosen, Draw, Drawn, Past, RowTask, Sampler, SamplingParams, TokenLogprobs,
};
use candela_flags::Dtype;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use safetensors::tensor::Dtype as Saved;

use crate::{
    Folder,
    families::VOCAB,
    family,
    runs::{SEQUENCES, Session, gpu, prompt},
    started,
};

/// Both add in f64, in another order, and round to f32 at the end.
const LOGPROB_ERROR_MAX: f32 = 1e-5;
const ROUNDS: usize = 12;

/// What is asked of a row.
enum Asked {
    Skip,
    Score(u32, usize),
    Draw(Box<Drawing>),
}

struct Drawing {
    params: SamplingParams,
    sampler: Sampler,
    allowed: Option<Vec<u32>>,
    banned: Vec<u32>,
    answer: Vec<u32>,
}

fn one_of<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

fn asked(random: &mut StdRng) -> Asked {
    match random.random_range(0..8) {
        0 => Asked::Skip,
        1 => Asked::Score(
            random.random_range(0..VOCAB as u32),
            one_of(random, &[0, 5, 20]),
        ),
        _ => Asked::Draw(Box::new(Drawing::random(random))),
    }
}

impl Drawing {
    fn random(random: &mut StdRng) -> Self {
        let token = |random: &mut StdRng| random.random_range(0..VOCAB as u32);
        let biases = random.random_range(0..3u32);
        let params = SamplingParams {
            temperature: one_of(random, &[0.0, 0.0, 0.4, 1.0, 3.0]),
            top_k: one_of(random, &[0, 0, 1, 7, 100, 1000]),
            top_p: one_of(random, &[1.0, 1.0, 0.3, 0.95]),
            min_p: one_of(random, &[0.0, 0.0, 0.1]),
            presence_penalty: one_of(random, &[0.0, 0.7]),
            frequency_penalty: one_of(random, &[0.0, 0.3]),
            repetition_penalty: one_of(random, &[1.0, 1.3]),
            // The last is beyond the vocabulary.
            logit_bias: (0..biases).map(|at| (at * 101 + 3, 2.5)).collect(),
            logprobs: one_of(random, &[None, None, Some(0), Some(20)]),
            ..SamplingParams::greedy(8)
        };
        let words = VOCAB.div_ceil(32);
        let allowed = match random.random_range(0..3) {
            // Shorter and longer than the vocabulary.
            0 => Some(
                (0..random.random_range(1..words + 3))
                    .map(|_| random.random())
                    .collect(),
            ),
            _ => None,
        };
        Self {
            params,
            sampler: Sampler::new(random.random(), 0),
            allowed,
            banned: (0..random.random_range(0..3))
                .map(|_| token(random))
                .collect(),
            answer: (0..random.random_range(0..40))
                .map(|_| token(random))
                .collect(),
        }
    }

    fn draw(&mut self) -> Draw<'_> {
        let past = Past {
            prompt: &[1, 2, 3, 4],
            answer: &self.answer,
        };
        let allowed = self.allowed.as_deref();
        self.sampler.draw(&self.params, allowed, &self.banned, past)
    }
}

impl Asked {
    fn task(&mut self) -> RowTask<'_> {
        match self {
            Self::Skip => RowTask::Skip,
            Self::Score(token, top) => RowTask::Score {
                token: *token,
                top: *top,
            },
            Self::Draw(drawing) => RowTask::Draw(drawing.draw()),
        }
    }

    /// By the host.
    fn expected(&mut self, row: &[f32]) -> Option<Drawn> {
        match self {
            Self::Skip => None,
            Self::Score(token, top) => {
                let logprobs = TokenLogprobs::of(row, *token, *top);
                Some(logprobs.map(|logprobs| Chosen {
                    token: *token,
                    logprobs: Some(Box::new(logprobs)),
                }))
            }
            Self::Draw(drawing) => Some(drawing.draw().of(&mut row.to_vec())),
        }
    }
}

fn near(seen: f32, expected: f32) -> bool {
    seen == expected || (seen - expected).abs() < LOGPROB_ERROR_MAX
}

fn assert_same(seen: &Drawn, expected: &Drawn, what: &str) {
    let (seen, expected) = match (seen, expected) {
        (Ok(seen), Ok(expected)) => (seen, expected),
        _ => return assert_eq!(seen, expected, "{what}"),
    };
    assert_eq!(seen.token, expected.token, "{what}");
    assert_eq!(
        seen.logprobs.is_some(),
        expected.logprobs.is_some(),
        "{what}"
    );
    let Some((seen, expected)) = seen.logprobs.as_ref().zip(expected.logprobs.as_ref()) else {
        return;
    };
    assert_eq!(
        (seen.token, seen.rank),
        (expected.token, expected.rank),
        "{what}"
    );
    assert!(
        near(seen.logprob, expected.logprob),
        "{what}: {seen:?}, {expected:?}"
    );
    assert_eq!(seen.top.len(), expected.top.len(), "{what}");
    for (seen, expected) in seen.top.iter().zip(&expected.top) {
        assert_eq!(seen.0, expected.0, "{what}");
        assert!(near(seen.1, expected.1), "{what}: {seen:?}, {expected:?}");
    }
}

/// Asks for something of every wanted row of the session's batch, of whom the device and the host have the same logits.
fn compare(session: &mut Session, random: &mut StdRng, what: &str) {
    let rows = session.run();
    let mut asked: Vec<Asked> = rows.iter().map(|_| asked(random)).collect();
    let expected: Vec<Option<Drawn>> = asked
        .iter_mut()
        .zip(&rows)
        .map(|(asked, row)| asked.expected(row))
        .collect();
    let drawn = session.draw(asked.iter_mut().map(Asked::task));
    assert_eq!(drawn.len(), rows.len(), "{what}");
    for (seen, expected) in drawn.iter().zip(&expected) {
        if let Some(expected) = expected {
            assert_same(seen, expected, what);
        }
    }
}

#[test]
fn tokens_drawn_on_the_device_are_those_that_the_host_draws() {
    let gpu = gpu();
    for (name, dtype) in [("llama", Saved::BF16), ("gemma2", Saved::F32)] {
        let folder = Folder::of(&family(name), dtype);
        let mut random = StdRng::seed_from_u64(7);
        let mut session = started(&folder, Dtype::Auto, gpu.device);
        for round in 0..ROUNDS {
            // Decoding, by launches and by graphs, with rows that nobody wants.
            let sequences = 1 + round % SEQUENCES;
            let parts: Vec<(usize, &[u32])> = (0..sequences).map(|s| (s, &[9u32][..])).collect();
            session.step(&parts);
            let wanted =
                (0..sequences as u32).filter(|row| round < 6 || (row + round as u32) % 3 != 1);
            session.want(&wanted.collect::<Vec<_>>());
            compare(
                &mut session,
                &mut random,
                &format!("{name}, decoding, round {round}"),
            );
        }
        // Prompts beside each other, all of whose rows are wanted: more sets of tokens than there is room for at a time.
        for round in 0..3 {
            let mut session = folder.session(Dtype::Auto, gpu.device);
            let prompts = [prompt(round, 30), prompt(1, 1), prompt(2, 90)];
            let parts: Vec<(usize, &[u32])> =
                prompts.iter().map(Vec::as_slice).enumerate().collect();
            session.step(&parts);
            compare(
                &mut session,
                &mut random,
                &format!("{name}, prompts, round {round}"),
            );
        }
    }
}

#[test]
fn a_batch_that_was_begun_and_left_does_no_harm() {
    let gpu = gpu();
    let folder = Folder::of(&family("llama"), Saved::BF16);
    let mut session = started(&folder, Dtype::Auto, gpu.device);
    let parts: Vec<(usize, &[u32])> = (0..3).map(|s| (s, &[9u32][..])).collect();
    let expected = session.step(&parts);
    session.begin();
    assert_eq!(session.run(), expected);
    session.begin();
    session.begin();
    let params = SamplingParams::greedy(1);
    let mut samplers: Vec<Sampler> = (0..3).map(|_| Sampler::new(0, 0)).collect();
    let tasks = samplers
        .iter_mut()
        .map(|sampler| RowTask::Draw(sampler.draw(&params, None, &[], Past::default())));
    for (drawn, row) in session.draw(tasks).iter().zip(&expected) {
        let token = drawn.as_ref().unwrap().token as usize;
        assert!(row.iter().all(|logit| *logit <= row[token]));
    }
    // Fewer tasks than rows, and no batch at all.
    assert_eq!(session.draw(std::iter::empty()).len(), 3);
}
