//! The parameters of the kernels, as `kernels/arguments.cuh` declares them and says what they mean: shapes, types, grids. Fields here have
//! the same names and the same order.
//!
//! A [`Pointer`] is to memory of the device, 0 is null. What changes from step to step is in the memory that is pointed to, so that a
//! captured graph can be replayed.
#![expect(
    missing_docs,
    reason = "the kernels' header says what each field means, in the same order"
)]

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// An address in the device's memory.
pub type Pointer = u64;

/// The slot of a token whose key and value are not kept.
pub const NO_SLOT: u32 = u32::MAX;
/// A row's set of allowed tokens: all.
pub const ALL_ALLOWED: u32 = u32::MAX;
/// Among sampled tokens: the row's logits are not numbers, or none is allowed. Among the counts of likeliest tokens: leave the row out.
pub const NO_TOKEN: u32 = u32::MAX;
/// Bytes of shared memory of `experts_matmul_T`.
pub const EXPERTS_SHARED: u32 = 82_944;

/// Queries of a block of `attention_prefill_D_T`.
pub const fn prefill_tile_rows(head_dim: u32) -> u32 {
    if head_dim <= 128 { 128 } else { 64 }
}

/// Bytes of shared memory of `attention_prefill_D_T`.
pub const fn prefill_shared_bytes(head_dim: u32) -> u32 {
    let tokens = if head_dim <= 128 { 64 } else { 32 };
    2 * (prefill_tile_rows(head_dim) + 4 * tokens) * (head_dim + 8)
}

/// Numbers of the heads that `attention_prefill_small_D_T` is made for, its tile's rows, and its bytes of shared memory.
pub const PREFILL_SMALL: (u32, u32, u32) = (128, 64, 87_040);

/// Structs that lie on the device as they lie here.
macro_rules! on_device {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct $name { $(pub $field: $type,)* }

        #[expect(unsafe_code, reason = "who launches a kernel says that these are its arguments")]
        // SAFETY: numbers only, laid out as in C; `Kernels::kernel` compares the sizes of those that kernels take.
        unsafe impl DeviceRepr for $name {}
    )*};
}

on_device! {
    /// `gather_T`
    Gather {
        matrix: Pointer,
        ids: Pointer,
        out: Pointer,
        matrix_rows: u32,
        width: u32,
        scale: f32,
    }
    /// `rms_norm_T`
    RmsNorm {
        x: Pointer,
        weight: Pointer,
        out: Pointer,
        width: u32,
        x_stride: u32,
        out_stride: u32,
        eps: f32,
        weight_in_f32: u32,
    }
    /// `layer_norm_T`
    LayerNorm {
        x: Pointer,
        weight: Pointer,
        bias: Pointer,
        out: Pointer,
        width: u32,
        eps: f32,
    }
    /// `residual_T`
    Residual {
        x: Pointer,
        y: Pointer,
        y_weight: Pointer,
        weight: Pointer,
        sum: Pointer,
        out: Pointer,
        width: u32,
        scale: f32,
        eps: f32,
        weight_in_f32: u32,
    }
    /// `heads_T`
    Heads {
        product: Pointer,
        positions: Pointer,
        slots: Pointer,
        table: Pointer,
        q_weight: Pointer,
        k_weight: Pointer,
        queries: Pointer,
        cache: Pointer,
        slot_count: u64,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        rotary_dim: u32,
        interleaved: u32,
        weight_in_f32: u32,
        eps: f32,
    }
    /// `gated_T`
    Gated {
        x: Pointer,
        out: Pointer,
        width: u32,
        activation: u32,
    }
    /// `activate_T`, `scale_T`, `add_bias_T`, `add_T`, `narrow_T`, `widen_T`, `logits_scale`
    Elementwise {
        x: Pointer,
        y: Pointer,
        out: Pointer,
        count: u64,
        width: u32,
        activation: u32,
        factor: f32,
        softcap: f32,
    }
    /// `attention_plan`
    AttentionPlan {
        sequences: Sequences,
        plan: Plan,
        window: u32,
        split_tokens: u32,
        splits_max: u32,
        tile_rows: u32,
    }
    /// `attention_decode_D_T`, `attention_join_T`
    AttentionDecode {
        sequences: Sequences,
        scores: Scores,
        plan: Plan,
        queries: Pointer,
        cache: Pointer,
        out: Pointer,
        partial: Pointer,
        partial_state: Pointer,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        split_tokens: u32,
        splits_max: u32,
    }
    /// `attention_prefill_D_T`, `attention_plain_T`
    AttentionPrefill {
        sequences: Sequences,
        scores: Scores,
        plan: Plan,
        queries: Pointer,
        cache: Pointer,
        out: Pointer,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        single: u32,
    }
    /// `edit_logits`, `sample`, `restore_logits`
    Sampling {
        logits: Pointer,
        rows: Pointer,
        edits: Pointer,
        kept: Pointer,
        masks: Pointer,
        tokens: Pointer,
        vocab: u32,
    }
    /// `token_logprobs`
    Logprobs {
        logits: Pointer,
        tokens: Pointer,
        tops: Pointer,
        logprobs: Pointer,
        ranks: Pointer,
        top_tokens: Pointer,
        top_logprobs: Pointer,
        vocab: u32,
        top_max: u32,
    }
    /// `experts_route`, `experts_count`, `experts_place`
    ExpertsRoute {
        logits: Pointer,
        live_rows: Pointer,
        to: Assignments,
        rows: u32,
        experts: u32,
        per_token: u32,
        normalized: u32,
    }
    /// `experts_matmul_T`, `experts_combine_T`
    ExpertsMatmul {
        x: Pointer,
        weight: Pointer,
        out: Pointer,
        by: Assignments,
        experts: u32,
        per_token: u32,
        columns: u32,
        inner: u32,
        by_assignment: u32,
    }
    /// `quantized_matmul_KIND_T`, `quantized_matmul_wide_KIND_T`
    QuantizedMatmul {
        weight: Blocks,
        x: Pointer,
        bias: Pointer,
        out: Pointer,
        rows: u32,
        inputs: u32,
        outputs: u32,
        out_stride: u32,
    }
    /// `dequantize_KIND_T`, `quantized_gather_KIND_T`
    Dequantize {
        matrix: Blocks,
        ids: Pointer,
        out: Pointer,
        matrix_rows: u32,
        width: u32,
        scale: f32,
    }
    /// A matrix in blocks.
    Blocks {
        quants: Pointer,
        scales: Pointer,
    }
    /// The sequences of a step.
    Sequences {
        cu_seqlens_q: Pointer,
        seqlens_k: Pointer,
        block_tables: Pointer,
        count: u32,
        table_width: u32,
    }
    /// How the attention's scores are made.
    Scores {
        scale: f32,
        softcap: f32,
        window: u32,
        causal: u32,
    }
    /// What the attention's blocks do in a step.
    Plan {
        first_item: Pointer,
        items: Pointer,
        first_tile: Pointer,
    }
    /// What the experts of a mixture do in a layer.
    Assignments {
        experts: Pointer,
        weights: Pointer,
        counts: Pointer,
        first: Pointer,
        first_tile: Pointer,
        tokens: Pointer,
        places: Pointer,
    }
    /// A row whose token is drawn, in an array in the device's memory.
    SamplingRow {
        temperature: f32,
        top_p: f32,
        min_p: f32,
        top_k: u32,
        uniform: u64,
        mask: u32,
        first_edit: u32,
        edits: u32,
        repetition_penalty: f32,
        frequency_penalty: f32,
        presence_penalty: f32,
        token: u32,
    }
    /// What is done to one logit before its row is sampled, in an array in the device's memory.
    Edit {
        token: u32,
        kind: u32,
        bias: f32,
        count: u32,
    }
}
