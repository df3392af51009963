//! A model on a device, and what is asked of it: prompts in pieces, ragged beside each other, then token by token.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use candela_engine::{
    model::{
        self, LoadProgress, LoadedModel,
        runner::{Batch, blocks_for},
    },
    sampling::{Drawn, Logits, RowTask},
};
use candela_flags::{
    BatchedTokens, ContextLength, Device, Dtype, EngineFlags, KvBlocks, MaxSequences,
};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Blocks of a sequence in these tests.
const WIDTH: usize = 8;
pub(crate) const SEQUENCES: usize = 6;

/// The right to use the GPU: tests take turns, since the device of software allows nothing beside a recording, wherever it comes from.
pub(crate) struct Turn {
    pub(crate) device: Device,
    #[expect(dead_code, reason = "it is held")]
    held: MutexGuard<'static, ()>,
}

/// The GPU; where CANDELA_GPU asks for none, that of software, whose libraries then are those that everyone finds by their names.
pub(crate) fn gpu() -> Turn {
    static SOFTWARE: OnceLock<()> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let held = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    SOFTWARE.get_or_init(|| {
        if std::env::var_os("CANDELA_GPU").is_some() {
            return;
        }
        let folder = software();
        for file in ["libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13"] {
            #[expect(unsafe_code, reason = "loading a library runs its constructors")]
            // SAFETY: these are built from this repository, and stay loaded.
            let library = unsafe { Library::open(Some(folder.join(file)), RTLD_NOW | RTLD_GLOBAL) };
            std::mem::forget(library.unwrap());
        }
    });
    Turn {
        device: Device::Cuda(0),
        held,
    }
}

/// The folder of the software device's libraries.
pub(crate) fn software() -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/software/build.sh");
    let built = Command::new("bash").arg(build).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}

pub(crate) fn flags(folder: &Path, dtype: Dtype) -> EngineFlags {
    let mut flags = EngineFlags::for_model(folder.to_str().unwrap().to_owned());
    flags.dtype = dtype;
    flags.max_model_len = Some(ContextLength::new((WIDTH * 32) as u64).unwrap());
    flags.max_num_seqs = MaxSequences::new(SEQUENCES as u64).unwrap();
    flags.max_num_batched_tokens = BatchedTokens::new(192).unwrap();
    flags.num_gpu_blocks_override = Some(KvBlocks::new((WIDTH * SEQUENCES) as u64).unwrap());
    flags
}

pub(crate) fn load(flags: &EngineFlags, device: Device) -> Result<LoadedModel, String> {
    let files = model::open(&flags.model).map_err(|error| error.to_string())?;
    let device = model::open_device(device).map_err(|error| error.to_string())?;
    model::load(&files, device, flags, &LoadProgress::default()).map_err(|error| error.to_string())
}

/// Some sequences on a model. The blocks of the sequences are interleaved, so that no block table is a plain range.
pub(crate) struct Session {
    pub(crate) model: LoadedModel,
    batch: Batch,
    pub(crate) logits: Logits,
    /// What is in the cache of each sequence.
    done: Vec<usize>,
}

impl Session {
    pub(crate) fn new(flags: &EngineFlags, device: Device) -> Self {
        Self {
            model: load(flags, device).unwrap(),
            batch: Batch::default(),
            logits: Logits::default(),
            done: vec![0; SEQUENCES],
        }
    }

    /// Runs the next tokens of some sequences; the logits of all of them.
    pub(crate) fn step(&mut self, parts: &[(usize, &[u32])]) -> Vec<Vec<f32>> {
        self.put(parts);
        self.batch.logits_idx = (0..self.batch.input_ids.len() as u32).collect();
        self.run()
    }

    /// Runs the batch as it is, once more if it was run before: keys and values become what they are.
    pub(crate) fn run(&mut self) -> Vec<Vec<f32>> {
        self.model
            .runner
            .forward(&self.batch, &mut self.logits)
            .unwrap();
        let rows = self.logits.data.chunks(self.logits.vocab);
        rows.map(<[f32]>::to_vec).collect()
    }

    /// The same batch, with what the device makes of its rows.
    pub(crate) fn draw<'a>(&mut self, tasks: impl Iterator<Item = RowTask<'a>> + 'a) -> Vec<Drawn> {
        let (mut tasks, mut drawn) = (tasks, Vec::new());
        let device = self.model.runner.device_sampler().unwrap();
        device.begin(&self.batch).unwrap();
        device.draw(&mut tasks, &mut drawn).unwrap();
        drawn
    }

    /// Begins the batch, and leaves it.
    pub(crate) fn begin(&mut self) {
        let device = self.model.runner.device_sampler().unwrap();
        device.begin(&self.batch).unwrap();
    }

    /// Wants some of the batch's rows only.
    pub(crate) fn want(&mut self, rows: &[u32]) {
        self.batch.logits_idx = rows.to_vec();
    }

    fn put(&mut self, parts: &[(usize, &[u32])]) {
        self.batch.clear();
        self.batch.block_table_width = WIDTH;
        for &(sequence, tokens) in parts {
            let from = self.done[sequence];
            let blocks: Vec<u32> = (0..blocks_for(from + tokens.len()))
                .map(|block| (block * SEQUENCES + sequence) as u32)
                .collect();
            self.batch.push(tokens, from, &blocks, false);
            self.done[sequence] += tokens.len();
        }
    }

    /// Forgets the last tokens of a sequence.
    pub(crate) fn back(&mut self, sequence: usize, tokens: usize) {
        self.done[sequence] -= tokens;
    }
}

/// Tokens of a sequence.
pub(crate) fn prompt(sequence: usize, length: usize) -> Vec<u32> {
    let vocab = super::families::VOCAB;
    (0..length)
        .map(|at| ((at * 37 + sequence * 101 + at * at * 13 + 5) % vocab) as u32)
        .collect()
}

/// The prompts that most tests take.
pub(crate) fn prompts() -> Vec<Vec<u32>> {
    let lengths = [1, 33, 64, 9, 70];
    let each = lengths.iter().enumerate();
    each.map(|(at, &length)| prompt(at, length)).collect()
}

/// The logits of all positions of the prompts, each taken `piece` tokens at a time beside the others, and of some tokens that follow one by
/// one: some sequences then decode beside prompts, in the end all of them together.
pub(crate) fn all_logits(session: &mut Session, piece: usize, more: usize) -> Vec<Vec<f32>> {
    let prompts: Vec<Vec<u32>> = prompts()
        .into_iter()
        .enumerate()
        .map(|(at, prompt)| [prompt, self::prompt(at + 50, more)].concat())
        .collect();
    let whole: Vec<usize> = prompts.iter().map(|prompt| prompt.len() - more).collect();
    let mut rows = vec![Vec::new(); prompts.len()];
    loop {
        let done = session.done.clone();
        let parts: Vec<(usize, &[u32])> = prompts
            .iter()
            .enumerate()
            .filter(|(at, prompt)| done[*at] < prompt.len())
            .map(|(at, prompt)| {
                let from = done[at];
                let tokens = if from < whole[at] {
                    piece.min(whole[at] - from)
                } else {
                    1
                };
                (at, &prompt[from..from + tokens])
            })
            .collect();
        if parts.is_empty() {
            return rows.concat();
        }
        let mut step = session.step(&parts).into_iter();
        for (at, tokens) in parts {
            rows[at].extend(step.by_ref().take(tokens.len()));
        }
    }
}
