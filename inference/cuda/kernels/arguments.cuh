// The parameters of every kernel: one struct each, as the Rust side mirrors it (`#[repr(C)]`). Shapes are `[rows, columns]`, row-major;
// `T` is the type in the kernel's name. Counts that are the same at every replay of a graph stand here; what changes from step to
// step (positions, slots, lengths, tables, sampling parameters) is in the memory that is pointed to.
#pragma once

#include <cstdint>

// Positions that a KV block holds, and the slot of a token whose key and value are not kept.
constexpr uint32_t BLOCK_TOKENS = 32;
constexpr uint32_t NO_SLOT = 0xffffffffu;

// `gather_T`: out[i] = matrix[ids[i]] · scale, rounded once; scale 1 copies. A row that the matrix does not have comes out NaN.
// Grid (rows), blocks of 256.
struct Gather {
    const void* matrix;     // [matrix_rows, width]
    const uint32_t* ids;    // [rows]
    void* out;              // [rows, width]
    uint32_t matrix_rows;
    uint32_t width;
    float scale;
};

// `rms_norm_T`: out = x / sqrt(mean(x²) + eps) · weight; may be in place. Grid (rows), blocks of 256, width · sizeof(T) bytes of shared
// memory. With `groups` > 1 a row has several parts of `width` numbers side by side, each normed alone: grid (rows, groups).
struct RmsNorm {
    const void* x;          // [rows, x_stride]
    const float* weight;    // [width], Gemma's 1 added
    void* out;              // [rows, out_stride]
    uint32_t width;
    uint32_t x_stride;
    uint32_t out_stride;
    float eps;
    uint32_t weight_in_f32; // 1: rounded once; 0: rounded before it meets the weight
};

// `layer_norm_T`: out = (x − mean) / sqrt(variance + eps) · weight + bias, rounded once. As `rms_norm_T`.
struct LayerNorm {
    const void* x;          // [rows, width]
    const float* weight;    // [width]
    const float* bias;      // [width]
    void* out;              // [rows, width]
    uint32_t width;
    float eps;
};

// `residual_T`: sum = x + norm_y(y) · scale, out = norm_sum(sum); either norm may be missing (null weight), and with the second `out`.
// `sum` may be `x`. Grid (rows), blocks of 256, width · sizeof(T) bytes of shared memory.
struct Residual {
    const void* x;          // [rows, width]
    const void* y;          // [rows, width]
    const float* y_weight;  // [width] or null
    const float* weight;    // [width] or null
    void* sum;              // [rows, width]
    void* out;              // [rows, width] or null
    uint32_t width;
    float scale;
    float eps;
    uint32_t weight_in_f32;
};

// `heads_T`: of a product's rows (queries, keys, values) the queries normed and turned to `queries`, the keys normed and turned and the
// values to the cache. Grid (rows, (heads + 2 · kv_heads) / 4 rounded up), blocks of 128. Norms of all heads together are not made
// here: run `rms_norm_T` on the product first. head_dim even, at most 256.
struct Heads {
    const void* product;        // [rows, (heads + 2 · kv_heads) · head_dim]
    const uint32_t* positions;  // [rows]
    const uint32_t* slots;      // [rows] block · 32 + offset, or NO_SLOT
    const float* table;         // [context, rotary_dim]: cosines, then sines
    const float* q_weight;      // [head_dim] or null
    const float* k_weight;      // [head_dim] or null
    void* queries;              // [rows, heads, head_dim]
    void* cache;                // [blocks, 2, kv_heads, 32, head_dim]: keys, then values
    uint64_t slot_count;        // 32 · blocks
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t rotary_dim;        // numbers of a head that turn; 0: none
    uint32_t interleaved;       // 1: number 2i turns with 2i + 1; 0: i with i + rotary_dim / 2
    uint32_t weight_in_f32;
    float eps;
};

// `gated_T`: out = activation(gate) · up. Grid (rows, width / (256 · 16 / sizeof(T)) rounded up), blocks of 256.
struct Gated {
    const void* x;          // [rows, 2 · width]: gate, then up
    void* out;              // [rows, width]
    uint32_t width;
    uint32_t activation;    // 0 silu, 1 gelu, 2 gelu by tanh, 3 relu
};

// `activate_T`, `scale_T`, `add_bias_T`, `add_T`, `narrow_T` (from f32), `widen_T` (to f32), `logits_scale`: number by number. May be in
// place where the types are one. Grid (count / (256 · 8) rounded up), blocks of 256.
struct Elementwise {
    const void* x;          // [count]
    const void* y;          // add_bias_T: [width]; add_T: [count]; else unused
    void* out;              // [count]
    uint64_t count;
    uint32_t width;         // of a bias
    uint32_t activation;    // of activate_T, as above
    float factor;           // scale_T; add_T: x + y · factor; logits_scale: what x is divided by
    float softcap;          // logits_scale: cap · tanh(x / cap); 0: none
};

// One sequence's part in a step, as the attention sees it: its queries are rows cu_seqlens_q[s] .. cu_seqlens_q[s + 1] of the batch, the
// last of its seqlens_k[s] tokens, all of which have their keys and values in the cache. Unused places of a graph's bucket are sequences
// with one query and no tokens; their rows come out as zeros.
struct Sequences {
    const uint32_t* cu_seqlens_q;   // [count + 1]
    const uint32_t* seqlens_k;      // [count]
    const uint32_t* block_tables;   // [count, table_width]
    uint32_t count;
    uint32_t table_width;
};

// How the scores are made, of every attention kernel.
struct Scores {
    float scale;
    float softcap;      // cap · tanh(score / cap); 0: none
    uint32_t window;    // positions a token sees, itself included; 0: all
    uint32_t causal;    // 0: a token sees its whole sequence
};

// What the attention of a step is made of, in device memory, made by `attention_plan` and the same for all layers of one window.
struct Plan {
    uint32_t* first_item;   // [sequences + 1]: where a sequence's splits begin in `items`; the last is their count
    uint32_t* items;        // [sequences · splits_max]: the sequences' splits, each as its sequence
    uint32_t* first_tile;   // [sequences + 1]: the same for tiles of prefill
};

// `attention_plan`: sequences with one query are decoded, in splits of `split_tokens` tokens, or of so many more that there are no more
// than `splits_max`; those with several queries are done in tiles of `tile_rows` queries. Both depend on the sequence alone. Grid (1),
// blocks of 256.
struct AttentionPlan {
    Sequences sequences;
    Plan plan;
    uint32_t window;
    uint32_t split_tokens;  // a multiple of 32
    uint32_t splits_max;
    uint32_t tile_rows;     // rows of the prefill kernel: 128 for head_dim <= 128, else 64
};

// `attention_decode_D_T` (T bf16 or f16; D the head_dim), then `attention_join_T`. Any grid (x): blocks take splits in turn, so as many as
// fit the device; z: groups of query heads beyond 16. Blocks of 128. `attention_join_T`: grid (sequences,
// heads / 4 rounded up), blocks of 128.
struct AttentionDecode {
    Sequences sequences;
    Scores scores;
    Plan plan;
    const void* queries;    // [rows, heads, head_dim]
    const void* cache;      // [blocks, 2, kv_heads, 32, head_dim]
    void* out;              // [rows, heads, head_dim]
    float* partial;         // [sequences · splits_max, heads, head_dim]: sums of values
    float* partial_state;   // [sequences · splits_max, heads, 2]: greatest score (in powers of two), sum of weights
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t split_tokens;
    uint32_t splits_max;
};

// `attention_prefill_D_T` (T bf16 or f16): grid (tiles, heads), tiles as many as `attention_plan` can make: rows / tile_rows + sequences;
// blocks of 128; PREFILL_SHARED_D bytes of shared memory (see `attention_prefill.cu`).
// `attention_prefill_small_128_T`: the same with tiles of 64 rows and 87040 bytes.
// `attention_plain_T`: any head_dim up to 256 and f32 too, without tensor cores; all sequences, those with one query too where `single`
// is 1. Grid (rows, heads / 4 rounded up), blocks of 128.
struct AttentionPrefill {
    Sequences sequences;
    Scores scores;
    Plan plan;              // not for attention_plain_T
    const void* queries;    // [rows, heads, head_dim]
    const void* cache;      // [blocks, 2, kv_heads, 32, head_dim]
    void* out;              // [rows, heads, head_dim]
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t single;
};

// A row of logits whose next token is drawn; [rows] in device memory, written by the host for each step.
struct SamplingRow {
    float temperature;          // 0: the greatest logit
    float top_p;                // 1: all
    float min_p;                // 0: all
    uint32_t top_k;             // 0: all
    uint64_t uniform;           // 53 random bits: the row's place in [0, 1), not used where temperature is 0
    uint32_t mask;              // index of its set of allowed tokens, or ALL_ALLOWED
    uint32_t first_edit;        // its edits: first_edit .. first_edit + edits
    uint32_t edits;
    float repetition_penalty;
    float frequency_penalty;
    float presence_penalty;
    uint32_t token;             // NO_TOKEN: it is drawn; else the row's token is this one, and nothing above counts
};
constexpr uint32_t ALL_ALLOWED = 0xffffffffu;
// Among a step's sampled tokens: the row's logits are not numbers, or none is allowed.
constexpr uint32_t NO_TOKEN = 0xffffffffu;

// What is done to one logit of a row before it is sampled; no token stands twice in a row's list.
struct Edit {
    uint32_t token;
    uint32_t kind;              // bits: 1 banned, 2 seen in prompt or answer (penalties apply)
    float bias;
    uint32_t count;             // how often the answer has it
};

// `edit_logits`: bans, biases and penalties, as the CPU's sampler does them; the logits as they were go to `kept`. `restore_logits` puts
// them back. Grid (rows), blocks of 256.
// `sample`: the rows' tokens, exactly as the CPU draws them (see `sampling.cuh`). Grid (rows), blocks of 1024.
struct Sampling {
    float* logits;              // [rows, vocab]
    const SamplingRow* rows;    // [rows]
    const Edit* edits;
    float* kept;                // as many as edits
    const uint32_t* masks;      // [sets, (vocab + 31) / 32], bit token % 32 of word token / 32
    uint32_t* tokens;           // [rows]
    uint32_t vocab;
};

// `token_logprobs`: of a token of each row, by the log-softmax of the row's logits. Grid (rows), blocks of 1024.
struct Logprobs {
    const float* logits;        // [rows, vocab]
    const uint32_t* tokens;     // [rows]
    const uint32_t* tops;       // [rows]: how many of the likeliest tokens, at most `top_max`; NO_TOKEN: the row is left out
    float* logprobs;            // [rows]; not a number where the row has no softmax
    uint32_t* ranks;            // [rows]: how many logits are as great
    uint32_t* top_tokens;       // [rows, top_max], the likeliest first, of equals the smaller id
    float* top_logprobs;        // [rows, top_max]
    uint32_t vocab;
    uint32_t top_max;           // at most 1024
};

// What the experts of a mixture do in a layer, in device memory. An assignment is a token's one of `per_token` choices; assignments lie
// expert after expert, of an expert in the order of the tokens.
struct Assignments {
    uint32_t* experts;      // [rows, per_token]: the chosen ones, ascending; `experts` where the row is beyond the batch
    float* weights;         // [rows, per_token]
    uint32_t* counts;       // [experts]
    uint32_t* first;        // [experts + 1]: where an expert's assignments begin
    uint32_t* first_tile;   // [experts + 1]: the same of its tiles of 64
    uint32_t* tokens;       // [rows · per_token]: the row of an assignment
    uint32_t* places;       // [rows, per_token]: where a row's assignments lie
};

// `experts_route`, then `experts_count`, then `experts_place`. `experts_route`: grid (rows / 4 rounded up), blocks of 128, 16 · experts
// bytes of shared memory; the others: grid (experts), blocks of 256.
struct ExpertsRoute {
    const float* logits;        // [rows, experts]
    const uint32_t* live_rows;  // rows of the batch; null: all
    Assignments to;
    uint32_t rows;
    uint32_t experts;
    uint32_t per_token;         // at most 32
    uint32_t normalized;        // 1: the chosen weights add up to 1
};

// `experts_matmul_T` (bf16 or f16): out[a] = x[row of a] · weight[expert of a]ᵀ for every assignment a. Grid (columns / 128 rounded up,
// rows · per_token / 64 + the smaller of experts and rows · per_token), blocks of 128, EXPERTS_SHARED bytes of shared memory.
// `experts_matmul_f32`: the same without tensor cores, for any `inner`. Grid (rows · per_token, columns / 32 rounded up), blocks of 128.
// `experts_combine_T`: a row's sum of its experts' results by their weights, in f32, in the order of the experts. Grid (rows), blocks
// of 256; `x` [rows · per_token, columns].
struct ExpertsMatmul {
    const void* x;          // [rows, inner], or by assignment
    const void* weight;     // [experts, columns, inner]
    void* out;              // [rows · per_token, columns]; of experts_combine_T [rows, columns]
    Assignments by;
    uint32_t experts;
    uint32_t per_token;
    uint32_t columns;
    uint32_t inner;         // a multiple of 8
    uint32_t by_assignment; // 1: row a of x is that of assignment a
};
constexpr uint32_t EXPERTS_SHARED = 82944;

// A matrix [rows, columns] in blocks, as `quantized.cu` reads it: the blocks of each row side by side, row by row, and in a plane of its own
// a scale of each block. Blocks and what is in them are GGML's, with the weights of a block in another order, so that a warp reads bytes
// side by side and meets activations side by side. In a block of 256, lane j of 8 has, of each part p of 4, the weights 64 p + 8 j + i,
// i < 8: word p of its 16 bytes has in the low half of byte b that of i = b, in the high half that of i = b + 4.
// q8_0: of 32 weights 32 bytes, in order, signed; the plane has d. A weight is d · q.
// q4_k: of 256 weights 144 bytes: d, the minimum's d (f16), 12 bytes of scales and minima as GGML packs them, then 16 bytes of each of the 8
//   lanes; no plane. A weight is d · scale · q − least · minimum.
// q6_k: of 256 weights 208 bytes: 16 bytes of each lane with the lower 4 bits; 8 bytes of each lane with the upper 2, byte b of word k
//   having from its lowest bits on those of part 2 k (i = b, then i = b + 4) and of part 2 k + 1; 16 scales, signed, one for 16 weights.
//   The plane has d. A weight is d · scale · (q − 32).
// All these products are exact in f32, and a minimum is subtracted with one rounding: weights are the CPU's to the last bit.
struct Blocks {
    const void* quants;     // at a multiple of 16
    const void* scales;     // f16; null for q4_k
};

// `quantized_matmul_KIND_T`: out = x · weightᵀ + bias, sums in f32, rounded once; `quantized_matmul_wide_KIND_T` (T bf16 or f16): `out` in
// f32. KIND is q8_0, q4_k or q6_k. A row's sums have one order whatever the number of rows. Grid (outputs / 8 rounded up, rows / 8
// rounded up), blocks of 128.
struct QuantizedMatmul {
    Blocks weight;          // [outputs, inputs]
    const void* x;          // [rows, inputs]
    const void* bias;       // [outputs] or null
    void* out;              // [rows, out_stride], of which `outputs` are written
    uint32_t rows;
    uint32_t inputs;        // whole blocks
    uint32_t outputs;
    uint32_t out_stride;
};

// `dequantize_KIND_T`: rows of a matrix, each number rounded once. Grid (rows), blocks of 128.
// `quantized_gather_KIND_T`: as `gather_T` of a matrix in blocks: numbers are rounded, then scaled, then rounded. The same grid.
struct Dequantize {
    Blocks matrix;          // [matrix_rows, width]
    const uint32_t* ids;    // [rows]; unused by dequantize_KIND_T, which takes the rows in order
    void* out;              // [rows, width]
    uint32_t matrix_rows;
    uint32_t width;         // whole blocks
    float scale;            // of quantized_gather_KIND_T
};
