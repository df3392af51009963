//! The kernels that a decoder's forward pass launches, each with the grid that `arguments.cuh` gives it.

use std::sync::Arc;

use candela_cuda::{
    Gpu, Kernel,
    arguments::{
        AttentionDecode, AttentionPlan, AttentionPrefill, EXPERTS_SHARED, Elementwise,
        ExpertsMatmul, ExpertsRoute, Gated, Gather, Heads, Logprobs, PREFILL_SMALL, Residual,
        RmsNorm, Sampling, prefill_shared_bytes, prefill_tile_rows,
    },
    cudarc::driver::{CudaStream, DeviceRepr, sys::CUdevice_attribute},
};
use candle_core::DType;

use super::error::GpuError;

/// Threads of a block of most kernels.
const THREADS: u32 = 256;
/// Threads of a block of those that work in warps.
const WARPS_THREADS: u32 = 128;
/// Threads of a block that has a row of logits.
const ROW_THREADS: u32 = 1024;
/// Numbers that a block of an elementwise kernel does.
const ELEMENTWISE_NUMBERS: u64 = 256 * 8;
/// Bytes of a vector of the kernel `gated`.
const VECTOR_BYTES: usize = 16;
/// Query heads of one KV head that a block of `attention_decode` takes.
const DECODE_GROUP: u32 = 16;
/// Blocks of `attention_decode` that fit a multiprocessor.
const DECODE_BLOCKS: u32 = 2;

/// Rows and columns of a tile of the experts' products, and columns of a row's in f32.
const EXPERTS_TILE: (u32, u32) = (64, 128);
const EXPERTS_COLUMNS: u32 = 32;

/// The head sizes that the tensor cores' kernels are compiled for.
const TILED: [usize; 7] = [64, 80, 96, 112, 128, 192, 256];

/// All of them, for one type and size of heads.
pub(super) struct Kernels {
    stream: Arc<CudaStream>,
    number_bytes: usize,
    multiprocessors: u32,
    gather: Kernel<Gather>,
    rms_norm: Kernel<RmsNorm>,
    residual: Kernel<Residual>,
    heads: Kernel<Heads>,
    gated: Kernel<Gated>,
    widen: Kernel<Elementwise>,
    logits_scale: Kernel<Elementwise>,
    attention: Attention,
    /// `None`: the model has no mixture of experts.
    experts: Option<Experts>,
    edit_logits: Kernel<Sampling>,
    sample: Kernel<Sampling>,
    restore_logits: Kernel<Sampling>,
    token_logprobs: Kernel<Logprobs>,
}

enum Attention {
    Tiled(Tiled),
    /// Without tensor cores: other sizes of heads, and f32.
    Plain(Kernel<AttentionPrefill>),
}

struct Tiled {
    plan: Kernel<AttentionPlan>,
    decode: Kernel<AttentionDecode>,
    join: Kernel<AttentionDecode>,
    prefill: Kernel<AttentionPrefill>,
    tile_rows: u32,
}

struct Experts {
    route: Kernel<ExpertsRoute>,
    count: Kernel<ExpertsRoute>,
    place: Kernel<ExpertsRoute>,
    matmul: Kernel<ExpertsMatmul>,
    combine: Kernel<ExpertsMatmul>,
}

/// The sizes that the kernels are told of once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widths {
    /// The widest row that is normed.
    pub(super) normed: usize,
    pub(super) head_dim: usize,
    /// Experts of a mixture; 0: there is none.
    pub(super) experts: usize,
}

impl Kernels {
    pub(super) fn load(gpu: &Gpu, dtype: DType, widths: Widths) -> Result<Self, GpuError> {
        let from = Source::new(gpu, dtype);
        let normed = (widths.normed * dtype.size_in_bytes()) as u32;
        let multiprocessors = gpu
            .stream()
            .context()
            .attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(GpuError::driver("counting the GPU's multiprocessors"))?;
        let attention = if dtype != DType::F32 && TILED.contains(&widths.head_dim) {
            Attention::Tiled(from.tiled(widths.head_dim as u32)?)
        } else {
            let kernel = from.typed("attention_plain", "attention_plain", WARPS_THREADS, 0);
            Attention::Plain(kernel?)
        };
        let experts = (widths.experts > 0).then(|| from.experts(widths.experts as u32));
        Ok(Self {
            stream: gpu.stream(),
            number_bytes: dtype.size_in_bytes(),
            multiprocessors: multiprocessors.unsigned_abs().max(1),
            gather: from.typed("embedding", "gather", THREADS, 0)?,
            rms_norm: from.typed("norm", "rms_norm", THREADS, normed)?,
            residual: from.typed("norm", "residual", THREADS, normed)?,
            heads: from.typed("heads", "heads", WARPS_THREADS, 0)?,
            gated: from.typed("elementwise", "gated", THREADS, 0)?,
            widen: from.typed("elementwise", "widen", THREADS, 0)?,
            logits_scale: from.named("elementwise", "logits_scale", THREADS, 0)?,
            attention,
            experts: experts.transpose()?,
            edit_logits: from.named("sampling", "edit_logits", THREADS, 0)?,
            sample: from.named("sampling", "sample", ROW_THREADS, 0)?,
            restore_logits: from.named("sampling", "restore_logits", THREADS, 0)?,
            token_logprobs: from.named("logprobs", "token_logprobs", ROW_THREADS, 0)?,
        })
    }

    /// Whether the attention goes by a plan, and the rows of its tiles of prefill.
    pub(super) fn tile_rows(&self) -> Option<u32> {
        match &self.attention {
            Attention::Tiled(tiled) => Some(tiled.tile_rows),
            Attention::Plain(_) => None,
        }
    }

    pub(super) fn gather(&self, rows: u32, args: &Gather) -> Result<(), GpuError> {
        self.launch(&self.gather, (rows, 1, 1), args)
    }

    pub(super) fn rms_norm(&self, rows: u32, args: &RmsNorm) -> Result<(), GpuError> {
        self.launch(&self.rms_norm, (rows, 1, 1), args)
    }

    pub(super) fn residual(&self, rows: u32, args: &Residual) -> Result<(), GpuError> {
        self.launch(&self.residual, (rows, 1, 1), args)
    }

    pub(super) fn heads(&self, rows: u32, args: &Heads) -> Result<(), GpuError> {
        let blocks = (args.heads + 2 * args.kv_heads).div_ceil(4);
        self.launch(&self.heads, (rows, blocks, 1), args)
    }

    pub(super) fn gated(&self, rows: u32, args: &Gated) -> Result<(), GpuError> {
        let numbers = THREADS * (VECTOR_BYTES / self.number_bytes) as u32;
        let blocks = args.width.div_ceil(numbers);
        self.launch(&self.gated, (rows, blocks, 1), args)
    }

    /// To f32.
    pub(super) fn widen(&self, args: &Elementwise) -> Result<(), GpuError> {
        self.elementwise(&self.widen, args)
    }

    pub(super) fn logits_scale(&self, args: &Elementwise) -> Result<(), GpuError> {
        self.elementwise(&self.logits_scale, args)
    }

    fn elementwise(
        &self,
        kernel: &Kernel<Elementwise>,
        args: &Elementwise,
    ) -> Result<(), GpuError> {
        let blocks = args.count.div_ceil(ELEMENTWISE_NUMBERS) as u32;
        self.launch(kernel, (blocks, 1, 1), args)
    }

    /// What the blocks of the attention do in this step; nothing where it needs no plan.
    pub(super) fn plan(&self, args: &AttentionPlan) -> Result<(), GpuError> {
        match &self.attention {
            Attention::Tiled(tiled) => self.launch(&tiled.plan, (1, 1, 1), args),
            Attention::Plain(_) => Ok(()),
        }
    }

    /// The attention of a layer over `rows` rows, some of which are sequences of their own (`decodes`), some the last tokens of others
    /// (`prefills`).
    pub(super) fn attention(
        &self,
        (rows, decodes, prefills): (u32, bool, bool),
        decode: &AttentionDecode,
        prefill: &AttentionPrefill,
    ) -> Result<(), GpuError> {
        let sequences = decode.sequences.count;
        let tiled = match &self.attention {
            Attention::Tiled(tiled) => tiled,
            Attention::Plain(kernel) => {
                let grid = (rows, prefill.heads.div_ceil(4), 1);
                return self.launch(kernel, grid, prefill);
            }
        };
        if decodes {
            let group = decode.heads / decode.kv_heads;
            let blocks = self.multiprocessors * DECODE_BLOCKS;
            let grid = (blocks, 1, group.div_ceil(DECODE_GROUP));
            self.launch(&tiled.decode, grid, decode)?;
            let grid = (sequences, decode.heads.div_ceil(4), 1);
            self.launch(&tiled.join, grid, decode)?;
        }
        if prefills {
            let grid = (rows / tiled.tile_rows + sequences, prefill.heads, 1);
            self.launch(&tiled.prefill, grid, prefill)?;
        }
        Ok(())
    }

    /// Which experts the rows go to, and where in the order of the experts.
    pub(super) fn route(&self, args: &ExpertsRoute) -> Result<(), GpuError> {
        let kernels = self.experts();
        let blocks = args.rows.div_ceil(4);
        self.launch(&kernels.route, (blocks, 1, 1), args)?;
        let grid = (args.experts, 1, 1);
        self.launch(&kernels.count, grid, args)?;
        self.launch(&kernels.place, grid, args)
    }

    /// The experts' products of `rows` rows.
    pub(super) fn experts_matmul(&self, rows: u32, args: &ExpertsMatmul) -> Result<(), GpuError> {
        let assignments = rows * args.per_token;
        let tiles = assignments / EXPERTS_TILE.0 + args.experts.min(assignments);
        let grid = if self.number_bytes == size_of::<f32>() {
            (assignments, args.columns.div_ceil(EXPERTS_COLUMNS), 1)
        } else {
            (args.columns.div_ceil(EXPERTS_TILE.1), tiles, 1)
        };
        self.launch(&self.experts().matmul, grid, args)
    }

    pub(super) fn experts_combine(&self, rows: u32, args: &ExpertsMatmul) -> Result<(), GpuError> {
        let kernel = &self.experts().combine;
        self.launch(kernel, (rows, 1, 1), args)
    }

    pub(super) fn edit_logits(&self, rows: u32, args: &Sampling) -> Result<(), GpuError> {
        self.launch(&self.edit_logits, (rows, 1, 1), args)
    }

    pub(super) fn sample(&self, rows: u32, args: &Sampling) -> Result<(), GpuError> {
        self.launch(&self.sample, (rows, 1, 1), args)
    }

    pub(super) fn restore_logits(&self, rows: u32, args: &Sampling) -> Result<(), GpuError> {
        self.launch(&self.restore_logits, (rows, 1, 1), args)
    }

    pub(super) fn token_logprobs(&self, rows: u32, args: &Logprobs) -> Result<(), GpuError> {
        self.launch(&self.token_logprobs, (rows, 1, 1), args)
    }

    fn experts(&self) -> &Experts {
        self.experts
            .as_ref()
            .expect("the model has experts, whose kernels were loaded")
    }

    fn launch<A: DeviceRepr>(
        &self,
        kernel: &Kernel<A>,
        grid: (u32, u32, u32),
        args: &A,
    ) -> Result<(), GpuError> {
        launch(&self.stream, kernel, grid, args)
    }
}

/// Puts a launch into the stream.
pub(super) fn launch<A: DeviceRepr>(
    stream: &Arc<CudaStream>,
    kernel: &Kernel<A>,
    grid: (u32, u32, u32),
    args: &A,
) -> Result<(), GpuError> {
    #[expect(unsafe_code, reason = "a kernel is as trusted as any of our functions")]
    // SAFETY: the addresses are of memory that the runner holds, with room for what the grid reaches.
    let launched = unsafe { kernel.launch(stream, grid, args) };
    launched.map_err(GpuError::driver(std::any::type_name::<A>()))
}

/// Where kernels are taken from.
pub(super) struct Source<'a> {
    gpu: &'a Gpu,
    /// The type, as their names have it.
    suffix: &'static str,
}

impl<'a> Source<'a> {
    pub(super) fn new(gpu: &'a Gpu, dtype: DType) -> Self {
        let suffix = match dtype {
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => "f32",
        };
        Self { gpu, suffix }
    }

    fn named<A: DeviceRepr>(
        &self,
        file: &str,
        kernel: &str,
        threads: u32,
        shared_bytes: u32,
    ) -> Result<Kernel<A>, GpuError> {
        let kernels = &self.gpu.kernels;
        Ok(kernels.kernel(file, kernel, threads, shared_bytes)?)
    }

    pub(super) fn typed<A: DeviceRepr>(
        &self,
        file: &str,
        kernel: &str,
        threads: u32,
        shared_bytes: u32,
    ) -> Result<Kernel<A>, GpuError> {
        let kernel = format!("{kernel}_{}", self.suffix);
        self.named(file, &kernel, threads, shared_bytes)
    }

    fn tiled(&self, head_dim: u32) -> Result<Tiled, GpuError> {
        let decode = "attention_decode";
        let (prefill, tile_rows, shared) = self.prefill(head_dim)?;
        let sized = |kernel: &str| format!("{kernel}_{head_dim}");
        Ok(Tiled {
            plan: self.named("attention_plan", "attention_plan", THREADS, 0)?,
            decode: self.typed(decode, &sized(decode), WARPS_THREADS, 0)?,
            join: self.typed(decode, "attention_join", WARPS_THREADS, 0)?,
            prefill: self.typed(prefill, &sized(prefill), WARPS_THREADS, shared)?,
            tile_rows,
        })
    }

    /// The kernel of prompts, the rows of its tiles, and the shared memory that it takes.
    fn prefill(&self, head_dim: u32) -> Result<(&'static str, u32, u32), GpuError> {
        let most = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most = self.gpu.stream().context().attribute(most);
        let most = most.map_err(GpuError::driver("asking for the GPU's shared memory"))?;
        let shared = prefill_shared_bytes(head_dim);
        let (small_dim, small_rows, small_shared) = PREFILL_SMALL;
        if shared > most.unsigned_abs() && head_dim == small_dim {
            return Ok(("attention_prefill_small", small_rows, small_shared));
        }
        Ok(("attention_prefill", prefill_tile_rows(head_dim), shared))
    }

    fn experts(&self, experts: u32) -> Result<Experts, GpuError> {
        let matmul = "experts_matmul";
        let (file, shared) = match self.suffix {
            "f32" => ("experts", 0),
            _ => (matmul, EXPERTS_SHARED),
        };
        Ok(Experts {
            route: self.named("experts", "experts_route", WARPS_THREADS, 16 * experts)?,
            count: self.named("experts", "experts_count", THREADS, 0)?,
            place: self.named("experts", "experts_place", THREADS, 0)?,
            matmul: self.typed(file, matmul, WARPS_THREADS, shared)?,
            combine: self.typed("experts", "experts_combine", THREADS, 0)?,
        })
    }
}
