//! Tokens that are drawn where the logits are: the tasks of rows, laid out for few copies, the launches, and what comes back.

use std::sync::Arc;

use candela_cuda::{
    arguments::{ALL_ALLOWED, Edit, Logprobs, NO_TOKEN, Pointer, Sampling, SamplingRow},
    cudarc::driver::CudaStream,
};

use super::{
    buffers::DrawParts, error::GpuError, inputs::Limits, kernels::Kernels, memory::Pinned,
};
use crate::sampling::{
    self, Chosen, Draw, Drawn, RowTask, SampleError, TOP_LOGPROBS_MAX, TokenLogprobs,
};

/// Edits that there is room for at least: those of 64 sequences with 4096 tokens of their own.
const EDITS_LEAST: usize = 1 << 18;
/// Bits of [`Edit::kind`].
const BANNED: u32 = 1;
const SEEN: u32 = 2;

/// Edits that there is room for: at least those of one row.
pub(super) fn edits_max(vocab: usize) -> usize {
    vocab.max(EDITS_LEAST)
}

/// Words of a set of tokens.
pub(super) fn words(vocab: usize) -> usize {
    vocab.div_ceil(32)
}

/// Where the parts of what comes back begin, in words: tokens, `[R]`; log probabilities, `[R]`; ranks, `[R]`; the likeliest tokens,
/// `[R, TOP_LOGPROBS_MAX]`, and their log probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Results {
    rows: usize,
}

impl Results {
    pub(super) fn new(rows: usize) -> Self {
        Self { rows }
    }

    pub(super) fn words(self) -> usize {
        self.rows * (3 + 2 * TOP_LOGPROBS_MAX)
    }

    fn logprobs(self) -> usize {
        self.rows
    }

    fn ranks(self) -> usize {
        2 * self.rows
    }

    fn top_tokens(self) -> usize {
        3 * self.rows
    }

    fn top_logprobs(self) -> usize {
        self.rows * (3 + TOP_LOGPROBS_MAX)
    }

    /// What was drawn in a row, of which `top` was asked for.
    fn of(self, words: &[u32], row: usize, top: u32, vocab: usize) -> Drawn {
        let token = words[row];
        if token == NO_TOKEN {
            return Err(SampleError::NotANumber);
        }
        if top == NO_TOKEN {
            return Ok(Chosen {
                token,
                logprobs: None,
            });
        }
        let number = |at: usize| f32::from_bits(words[at]);
        let logprob = number(self.logprobs() + row);
        if logprob.is_nan() {
            return Err(SampleError::NotANumber);
        }
        let first = row * TOP_LOGPROBS_MAX;
        let likeliest = first..first + vocab.min(top as usize);
        let likeliest = likeliest.map(|at| {
            let token = words[self.top_tokens() + at];
            (token, number(self.top_logprobs() + at))
        });
        Ok(Chosen {
            token,
            logprobs: Some(Box::new(TokenLogprobs {
                token,
                logprob,
                rank: words[self.ranks() + row] as usize,
                top: likeliest.collect(),
            })),
        })
    }
}

/// What the device is told of the rows and tells of them, in memory that it copies from and to.
pub(super) struct Draws {
    rows: Pinned<SamplingRow>,
    tops: Pinned<u32>,
    edits: Pinned<Edit>,
    masks: Pinned<u32>,
    drawn: Pinned<u32>,
    vocab: usize,
    parts: DrawParts,
}

/// Rows that are drawn together: as many as their edits and masks have room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Group {
    rows: usize,
    edits: usize,
    masks: usize,
    /// Some row's log probabilities are wanted.
    scored: bool,
}

impl Draws {
    pub(super) fn new(limits: &Limits, vocab: usize, parts: DrawParts) -> Result<Self, GpuError> {
        let (rows, what) = (limits.logits_rows, "drawing tokens");
        Ok(Self {
            rows: Pinned::new(rows, what)?,
            tops: Pinned::new(rows, what)?,
            edits: Pinned::new(edits_max(vocab), what)?,
            masks: Pinned::new(limits.sequences * words(vocab), what)?,
            drawn: Pinned::new(Results::new(rows).words(), what)?,
            vocab,
            parts,
        })
    }

    /// Draws of `count` rows of `logits`, each by its task, waits, and gives `each` what came of it.
    pub(super) fn draw<'a>(
        &mut self,
        (stream, kernels): (&Arc<CudaStream>, &Kernels),
        (logits, count): (Pointer, usize),
        mut tasks: impl FnMut(usize) -> RowTask<'a>,
        mut each: impl FnMut(usize, Drawn),
    ) -> Result<(), GpuError> {
        let mut left_over = None;
        let mut first = 0;
        while first < count {
            let mut group = Group::default();
            while first + group.rows < count {
                let task = left_over
                    .take()
                    .unwrap_or_else(|| tasks(first + group.rows));
                if !self.put(&mut group, task) {
                    left_over = Some(task);
                    break;
                }
            }
            let row_bytes = self.vocab * size_of::<f32>();
            let logits = logits + (first * row_bytes) as u64;
            let results = self.launch(stream, kernels, logits, group)?;
            stream
                .synchronize()
                .map_err(GpuError::driver("waiting for the step"))?;
            let (words, tops) = (self.drawn.numbers(), self.tops.numbers());
            for (row, &top) in tops[..group.rows].iter().enumerate() {
                each(first + row, results.of(words, row, top, self.vocab));
            }
            first += group.rows;
        }
        Ok(())
    }

    /// Writes down a row's task, if there is room for what it brings along.
    fn put(&mut self, group: &mut Group, task: RowTask<'_>) -> bool {
        let known = |token| SamplingRow {
            token,
            ..SamplingRow::default()
        };
        let (row, top) = match task {
            RowTask::Skip => (known(0), NO_TOKEN),
            RowTask::Score { token, top } => (known(token), most(top)),
            RowTask::Draw(draw) => match self.put_draw(group, &draw) {
                None => return false,
                Some(row) => (row, draw.params.logprobs.map_or(NO_TOKEN, most)),
            },
        };
        self.rows.numbers_mut()[group.rows] = row;
        self.tops.numbers_mut()[group.rows] = top;
        group.rows += 1;
        group.scored |= top != NO_TOKEN;
        true
    }

    fn put_draw(&mut self, group: &mut Group, draw: &Draw<'_>) -> Option<SamplingRow> {
        let Draw {
            params,
            allowed,
            edits,
            uniform,
        } = *draw;
        let known = || {
            edits
                .iter()
                .filter(|edit| (edit.token as usize) < self.vocab)
        };
        let (first, count, words) = (group.edits, known().count(), words(self.vocab));
        let set = group.masks * words;
        let masks = self.masks.numbers_mut();
        if first + count > self.edits.numbers().len()
            || allowed.is_some() && set + words > masks.len()
        {
            return None;
        }
        let places = &mut self.edits.numbers_mut()[first..first + count];
        for (place, edit) in places.iter_mut().zip(known()) {
            *place = on_device(edit);
        }
        group.edits += count;
        let mut mask = ALL_ALLOWED;
        if let Some(allowed) = allowed {
            let own = &mut masks[set..set + words];
            let told = allowed.len().min(words);
            own[..told].copy_from_slice(&allowed[..told]);
            own[told..].fill(0);
            mask = group.masks as u32;
            group.masks += 1;
        }
        Some(SamplingRow {
            temperature: params.temperature,
            top_p: params.top_p,
            min_p: params.min_p,
            top_k: params.top_k,
            uniform,
            mask,
            first_edit: first as u32,
            edits: count as u32,
            repetition_penalty: params.repetition_penalty,
            frequency_penalty: params.frequency_penalty,
            presence_penalty: params.presence_penalty,
            token: NO_TOKEN,
        })
    }

    /// Begins to draw the rows of a group, the first of which is at `logits`.
    fn launch(
        &mut self,
        stream: &Arc<CudaStream>,
        kernels: &Kernels,
        logits: Pointer,
        group: Group,
    ) -> Result<Results, GpuError> {
        let parts = self.parts;
        let results = Results::new(group.rows);
        let (rows, vocab) = (group.rows as u32, self.vocab as u32);
        let at = |word: usize| parts.drawn + (word * size_of::<u32>()) as u64;
        let mask_words = group.masks * words(self.vocab);
        self.rows.send(stream, group.rows, parts.rows)?;
        self.edits.send(stream, group.edits, parts.edits)?;
        self.masks.send(stream, mask_words, parts.masks)?;
        let sampling = Sampling {
            logits,
            rows: parts.rows,
            edits: parts.edits,
            kept: parts.kept,
            masks: parts.masks,
            tokens: parts.drawn,
            vocab,
        };
        if group.edits > 0 {
            kernels.edit_logits(rows, &sampling)?;
        }
        kernels.sample(rows, &sampling)?;
        if !group.scored {
            self.drawn.receive(stream, group.rows, parts.drawn)?;
            return Ok(results);
        }
        if group.edits > 0 {
            kernels.restore_logits(rows, &sampling)?;
        }
        self.tops.send(stream, group.rows, parts.tops)?;
        let logprobs = Logprobs {
            logits,
            tokens: parts.drawn,
            tops: parts.tops,
            logprobs: at(results.logprobs()),
            ranks: at(results.ranks()),
            top_tokens: at(results.top_tokens()),
            top_logprobs: at(results.top_logprobs()),
            vocab,
            top_max: TOP_LOGPROBS_MAX as u32,
        };
        kernels.token_logprobs(rows, &logprobs)?;
        self.drawn.receive(stream, results.words(), parts.drawn)?;
        Ok(results)
    }
}

/// As the kernels take it: requests ask for no more than [`TOP_LOGPROBS_MAX`].
fn most(top: usize) -> u32 {
    top.min(TOP_LOGPROBS_MAX) as u32
}

fn on_device(edit: &sampling::Edit) -> Edit {
    let mut kind = 0;
    if edit.banned {
        kind |= BANNED;
    }
    if edit.seen {
        kind |= SEEN;
    }
    Edit {
        token: edit.token,
        kind,
        bias: edit.bias,
        count: edit.count,
    }
}
