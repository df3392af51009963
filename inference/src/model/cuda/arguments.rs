//! The parameters of the kernels, field by field as `inference/cuda/kernels/arguments.cuh` has them; what each is for stands there.

/// A place in the device's memory; 0: none.
pub(super) type Address = u64;

/// The slot of a token whose key and value are not kept.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A kernel's one parameter.
///
/// # Safety
/// It is laid out as the struct of the same name that the kernel reads, and holds numbers and addresses only.
#[expect(unsafe_code, reason = "what is passed to a kernel is read as it lies")]
pub(super) unsafe trait Arguments: Copy {}

macro_rules! arguments {
    ($($(#[$doc:meta])* $kernel:ident $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[repr(C)]
        pub(super) struct $name {
            $(pub(super) $field: $kind,)*
        }
        arguments!(@$kernel $name);
    )*};
    (@kernel $name:ident) => {
        #[expect(unsafe_code, reason = "what is passed to a kernel is read as it lies")]
        // SAFETY: the fields are those of the struct in `arguments.cuh`, in its order, under `repr(C)`.
        unsafe impl Arguments for $name {}
    };
    (@part $name:ident) => {};
}

arguments! {
    kernel Gather {
        matrix: Address,
        ids: Address,
        out: Address,
        matrix_rows: u32,
        width: u32,
        scale: f32,
    }
    kernel RmsNorm {
        x: Address,
        weight: Address,
        out: Address,
        width: u32,
        x_stride: u32,
        out_stride: u32,
        eps: f32,
        weight_in_f32: u32,
    }
    kernel Residual {
        x: Address,
        y: Address,
        y_weight: Address,
        weight: Address,
        sum: Address,
        out: Address,
        width: u32,
        scale: f32,
        eps: f32,
        weight_in_f32: u32,
    }
    kernel Heads {
        product: Address,
        positions: Address,
        slots: Address,
        table: Address,
        q_weight: Address,
        k_weight: Address,
        queries: Address,
        cache: Address,
        slot_count: u64,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        rotary_dim: u32,
        interleaved: u32,
        weight_in_f32: u32,
        eps: f32,
    }
    kernel Gated {
        x: Address,
        out: Address,
        width: u32,
        activation: u32,
    }
    kernel Elementwise {
        x: Address,
        y: Address,
        out: Address,
        count: u64,
        width: u32,
        activation: u32,
        factor: f32,
        softcap: f32,
    }
    part Sequences {
        cu_seqlens_q: Address,
        seqlens_k: Address,
        block_tables: Address,
        count: u32,
        table_width: u32,
    }
    part Scores {
        scale: f32,
        softcap: f32,
        window: u32,
        causal: u32,
    }
    part Plan {
        first_item: Address,
        items: Address,
        first_tile: Address,
    }
    kernel AttentionPlan {
        sequences: Sequences,
        plan: Plan,
        window: u32,
        split_tokens: u32,
        splits_max: u32,
        tile_rows: u32,
    }
    kernel AttentionDecode {
        sequences: Sequences,
        scores: Scores,
        plan: Plan,
        queries: Address,
        cache: Address,
        out: Address,
        partial: Address,
        partial_state: Address,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        split_tokens: u32,
        splits_max: u32,
    }
    kernel AttentionPrefill {
        sequences: Sequences,
        scores: Scores,
        plan: Plan,
        queries: Address,
        cache: Address,
        out: Address,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        single: u32,
    }
    part Assignments {
        experts: Address,
        weights: Address,
        counts: Address,
        first: Address,
        first_tile: Address,
        tokens: Address,
        places: Address,
    }
    kernel ExpertsRoute {
        logits: Address,
        live_rows: Address,
        to: Assignments,
        rows: u32,
        experts: u32,
        per_token: u32,
        normalized: u32,
    }
    kernel ExpertsMatmul {
        x: Address,
        weight: Address,
        out: Address,
        by: Assignments,
        experts: u32,
        per_token: u32,
        columns: u32,
        inner: u32,
        by_assignment: u32,
    }
}

/// Rows of a tile of the experts' products.
pub(super) const EXPERTS_TILE_ROWS: usize = 64;
/// Columns of the same.
pub(super) const EXPERTS_TILE_COLUMNS: usize = 128;
/// Bytes of shared memory of the same.
pub(super) const EXPERTS_SHARED: usize = 82944;
