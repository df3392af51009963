//! The kernels that a decoder's forward pass launches, each with the grid that `arguments.cuh` gives it.

use std::{ffi::c_void, sync::Arc};

use candela_cuda::{
    Gpu,
    cudarc::driver::{
        CudaFunction, CudaStream, result,
        sys::{CUdevice_attribute, CUfunction_attribute},
    },
};
use candle_core::DType;

use super::{
    arguments::{
        Arguments, AttentionDecode, AttentionPlan, AttentionPrefill, EXPERTS_SHARED,
        EXPERTS_TILE_COLUMNS, EXPERTS_TILE_ROWS, Elementwise, ExpertsMatmul, ExpertsRoute, Gated,
        Gather, Heads, Residual, RmsNorm,
    },
    error::GpuError,
};

/// Threads of a block of most kernels.
const THREADS: u32 = 256;
/// Threads of a block of those that work in warps.
const WARPS_THREADS: u32 = 128;
/// Numbers that a block of an elementwise kernel does.
const ELEMENTWISE_NUMBERS: u64 = 256 * 8;
/// Bytes of a vector of the kernel `gated`.
const VECTOR_BYTES: usize = 16;
/// Shared memory that a kernel may take without having been told so.
const SHARED_UNTOLD: usize = 48 * 1024;
/// Query heads of one KV head that a block of `attention_decode` takes.
const DECODE_GROUP: u32 = 16;
/// Blocks of `attention_decode` that fit a multiprocessor.
const DECODE_BLOCKS: u32 = 2;

/// The head sizes that the tensor cores' kernels are compiled for, with rows of a tile of prefill and bytes of its shared memory.
const TILED: [(usize, u32, usize); 7] = [
    (64, 128, 55296),
    (80, 128, 67584),
    (96, 128, 79872),
    (112, 128, 92160),
    (128, 128, 104448),
    (192, 64, 76800),
    (256, 64, 101376),
];

/// One kernel.
struct Kernel {
    function: CudaFunction,
    name: String,
}

/// All of them, for one type and size of heads.
pub(super) struct Kernels {
    stream: Arc<CudaStream>,
    number_bytes: usize,
    multiprocessors: u32,
    gather: Kernel,
    rms_norm: Kernel,
    residual: Kernel,
    heads: Kernel,
    gated: Kernel,
    widen: Kernel,
    logits_scale: Kernel,
    attention: Attention,
    /// `None`: the model has no mixture of experts.
    experts: Option<Experts>,
}

enum Attention {
    Tiled(Tiled),
    /// Without tensor cores: other sizes of heads, and f32.
    Plain(Kernel),
}

struct Tiled {
    plan: Kernel,
    decode: Kernel,
    join: Kernel,
    prefill: Kernel,
    tile_rows: u32,
    prefill_shared: u32,
}

struct Experts {
    route: Kernel,
    count: Kernel,
    place: Kernel,
    matmul: Kernel,
    combine: Kernel,
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
        let suffix = match dtype {
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => "f32",
        };
        let find = |file: &str, kernel: &str| -> Result<Kernel, GpuError> {
            Ok(Kernel {
                function: gpu.kernels.function(file, kernel)?,
                name: kernel.to_owned(),
            })
        };
        let typed = |file: &str, kernel: &str| find(file, &format!("{kernel}_{suffix}"));
        let rows = |file: &str, kernel: &str| {
            let kernel = typed(file, kernel)?;
            kernel.allow_shared(widths.normed * dtype.size_in_bytes())?;
            Ok::<_, GpuError>(kernel)
        };
        let multiprocessors = gpu
            .stream()
            .context()
            .attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(GpuError::driver("counting the GPU's multiprocessors"))?;
        let tiled = TILED
            .iter()
            .find(|(head_dim, ..)| *head_dim == widths.head_dim && dtype != DType::F32);
        let attention = match tiled {
            None => Attention::Plain(typed("attention_plain", "attention_plain")?),
            Some(&(head_dim, tile_rows, shared)) => {
                let sized = |kernel: &str| format!("{kernel}_{head_dim}");
                let prefill = typed("attention_prefill", &sized("attention_prefill"))?;
                prefill.allow_shared(shared)?;
                Attention::Tiled(Tiled {
                    plan: find("attention_plan", "attention_plan")?,
                    decode: typed("attention_decode", &sized("attention_decode"))?,
                    join: typed("attention_decode", "attention_join")?,
                    prefill,
                    tile_rows,
                    prefill_shared: shared as u32,
                })
            }
        };
        let experts = if widths.experts == 0 {
            None
        } else {
            let matmul = typed("experts_matmul", "experts_matmul")?;
            matmul.allow_shared(EXPERTS_SHARED)?;
            let route = find("experts", "experts_route")?;
            route.allow_shared(widths.experts * 16)?;
            Some(Experts {
                route,
                count: find("experts", "experts_count")?,
                place: find("experts", "experts_place")?,
                matmul,
                combine: typed("experts", "experts_combine")?,
            })
        };
        Ok(Self {
            stream: gpu.stream(),
            number_bytes: dtype.size_in_bytes(),
            multiprocessors: multiprocessors.unsigned_abs().max(1),
            gather: typed("embedding", "gather")?,
            rms_norm: rows("norm", "rms_norm")?,
            residual: rows("norm", "residual")?,
            heads: typed("heads", "heads")?,
            gated: typed("elementwise", "gated")?,
            widen: typed("elementwise", "widen")?,
            logits_scale: find("elementwise", "logits_scale")?,
            attention,
            experts,
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
        self.launch(&self.gather, (rows, 1, 1), THREADS, 0, args)
    }

    pub(super) fn rms_norm(&self, rows: u32, args: &RmsNorm) -> Result<(), GpuError> {
        let shared = args.width as usize * self.number_bytes;
        self.launch(&self.rms_norm, (rows, 1, 1), THREADS, shared, args)
    }

    pub(super) fn residual(&self, rows: u32, args: &Residual) -> Result<(), GpuError> {
        let shared = args.width as usize * self.number_bytes;
        self.launch(&self.residual, (rows, 1, 1), THREADS, shared, args)
    }

    pub(super) fn heads(&self, rows: u32, args: &Heads) -> Result<(), GpuError> {
        let blocks = (args.heads + 2 * args.kv_heads).div_ceil(4);
        self.launch(&self.heads, (rows, blocks, 1), WARPS_THREADS, 0, args)
    }

    pub(super) fn gated(&self, rows: u32, args: &Gated) -> Result<(), GpuError> {
        let numbers = THREADS * (VECTOR_BYTES / self.number_bytes) as u32;
        let blocks = args.width.div_ceil(numbers);
        self.launch(&self.gated, (rows, blocks, 1), THREADS, 0, args)
    }

    /// To f32.
    pub(super) fn widen(&self, args: &Elementwise) -> Result<(), GpuError> {
        self.elementwise(&self.widen, args)
    }

    pub(super) fn logits_scale(&self, args: &Elementwise) -> Result<(), GpuError> {
        self.elementwise(&self.logits_scale, args)
    }

    fn elementwise(&self, kernel: &Kernel, args: &Elementwise) -> Result<(), GpuError> {
        let blocks = args.count.div_ceil(ELEMENTWISE_NUMBERS) as u32;
        self.launch(kernel, (blocks, 1, 1), THREADS, 0, args)
    }

    /// What the blocks of the attention do in this step; nothing where it needs no plan.
    pub(super) fn plan(&self, args: &AttentionPlan) -> Result<(), GpuError> {
        match &self.attention {
            Attention::Tiled(tiled) => self.launch(&tiled.plan, (1, 1, 1), THREADS, 0, args),
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
                return self.launch(kernel, grid, WARPS_THREADS, 0, prefill);
            }
        };
        if decodes {
            let group = decode.heads / decode.kv_heads;
            let blocks = self.multiprocessors * DECODE_BLOCKS;
            let grid = (blocks, 1, group.div_ceil(DECODE_GROUP));
            self.launch(&tiled.decode, grid, WARPS_THREADS, 0, decode)?;
            let grid = (sequences, decode.heads, 1);
            self.launch(&tiled.join, grid, WARPS_THREADS, 0, decode)?;
        }
        if prefills {
            let grid = (rows / tiled.tile_rows + sequences, prefill.heads, 1);
            let shared = tiled.prefill_shared as usize;
            self.launch(&tiled.prefill, grid, WARPS_THREADS, shared, prefill)?;
        }
        Ok(())
    }

    /// Which experts the rows go to, and where in the order of the experts.
    pub(super) fn route(&self, args: &ExpertsRoute) -> Result<(), GpuError> {
        let kernels = self.experts();
        let (blocks, shared) = (args.rows.div_ceil(4), args.experts as usize * 16);
        self.launch(&kernels.route, (blocks, 1, 1), WARPS_THREADS, shared, args)?;
        let grid = (args.experts, 1, 1);
        self.launch(&kernels.count, grid, THREADS, 0, args)?;
        self.launch(&kernels.place, grid, THREADS, 0, args)
    }

    /// The experts' products of `rows` rows.
    pub(super) fn experts_matmul(&self, rows: u32, args: &ExpertsMatmul) -> Result<(), GpuError> {
        let assignments = rows * args.per_token;
        let tiles = assignments / EXPERTS_TILE_ROWS as u32 + args.experts.min(assignments);
        let grid = (args.columns.div_ceil(EXPERTS_TILE_COLUMNS as u32), tiles, 1);
        let kernel = &self.experts().matmul;
        self.launch(kernel, grid, WARPS_THREADS, EXPERTS_SHARED, args)
    }

    pub(super) fn experts_combine(&self, rows: u32, args: &ExpertsMatmul) -> Result<(), GpuError> {
        let kernel = &self.experts().combine;
        self.launch(kernel, (rows, 1, 1), THREADS, 0, args)
    }

    fn experts(&self) -> &Experts {
        self.experts
            .as_ref()
            .expect("the model has experts, whose kernels were loaded")
    }

    fn launch<A: Arguments>(
        &self,
        kernel: &Kernel,
        grid: (u32, u32, u32),
        threads: u32,
        shared: usize,
        args: &A,
    ) -> Result<(), GpuError> {
        let mut parameters = [std::ptr::from_ref(args).cast_mut().cast::<c_void>()];
        #[expect(unsafe_code, reason = "a kernel is as trusted as any of our functions")]
        // SAFETY: the kernel takes this struct; its addresses are of memory that the runner holds, with room for what the grid reaches.
        let launched = unsafe {
            result::launch_kernel(
                kernel.function.cu_function(),
                grid,
                (threads, 1, 1),
                shared as u32,
                self.stream.cu_stream(),
                &mut parameters,
            )
        };
        launched.map_err(GpuError::driver(&kernel.name))
    }
}

impl Kernel {
    fn allow_shared(&self, bytes: usize) -> Result<(), GpuError> {
        if bytes <= SHARED_UNTOLD {
            return Ok(());
        }
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.function
            .set_attribute(attribute, bytes as i32)
            .map_err(GpuError::driver(&format!(
                "giving {} {bytes} bytes of shared memory",
                self.name
            )))
    }
}
