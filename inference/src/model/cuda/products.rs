//! Matrix products by cuBLASLt: `y = x · Wᵀ + b`, accumulated in f32 and rounded once.
//!
//! # Guarantee
//! An algorithm is chosen once for each shape, so that a product of so many rows is always made in the same way. Of another number of
//! rows it may be made in another, whose sums differ in their last bits.

use std::{collections::HashMap, ffi::c_void, ptr, sync::Arc};

use candela_cuda::{
    arguments::Pointer,
    cudarc::{
        cublaslt::{result, sys},
        driver::CudaStream,
    },
};
use candle_core::DType;

use super::{
    error::GpuError,
    memory::{ALIGNMENT, Memory},
};

/// What NVIDIA gives as enough for the fastest algorithms of a Hopper.
pub(super) const WORKSPACE_BYTES: usize = 32 << 20;

/// `CUBLAS_OP_T`.
const TRANSPOSED: u32 = 1;

/// A product's sizes, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    rows: usize,
    inputs: usize,
    outputs: usize,
    out_stride: usize,
    biased: bool,
    wide: bool,
    /// A part of a result may begin at a place that not all algorithms can write to.
    alignment: u32,
}

/// Rows of `x` that meet a weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// `[rows, inputs]`
    pub(super) x: Pointer,
    /// `[outputs, inputs]`
    pub(super) weight: Pointer,
    /// `[outputs]`; 0: none.
    pub(super) bias: Pointer,
    /// `[rows, out_stride]`, of which `outputs` are written.
    pub(super) out: Pointer,
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) out_stride: usize,
    /// `out` is in f32, whatever `x` is.
    pub(super) wide: bool,
}

/// cuBLASLt, and what it is told.
pub(super) struct Products {
    stream: Arc<CudaStream>,
    handle: sys::cublasLtHandle_t,
    workspace: Memory,
    dtype: DType,
    algorithms: HashMap<Shape, sys::cublasLtMatmulAlgo_t>,
}

#[expect(unsafe_code, reason = "the handle is a pointer")]
// SAFETY: cuBLASLt's handle may be used from any thread, and nobody else has it.
unsafe impl Send for Products {}

impl Products {
    pub(super) fn new(stream: &Arc<CudaStream>, dtype: DType) -> Result<Self, GpuError> {
        Ok(Self {
            stream: Arc::clone(stream),
            handle: result::create_handle().map_err(GpuError::blas("starting cuBLASLt"))?,
            workspace: Memory::new(stream, WORKSPACE_BYTES, "cuBLASLt's workspace")?,
            dtype,
            algorithms: HashMap::new(),
        })
    }

    /// Begins one.
    pub(super) fn begin(&mut self, product: &Product) -> Result<(), GpuError> {
        let described = Described::new(self.dtype, product)?;
        let shape = Shape {
            rows: product.rows,
            inputs: product.inputs,
            outputs: product.outputs,
            out_stride: product.out_stride,
            biased: product.bias != 0,
            wide: product.wide,
            alignment: aligned(product.out),
        };
        let algorithm = match self.algorithms.get(&shape) {
            Some(algorithm) => *algorithm,
            None => {
                let chosen = self.choose(&described, product)?;
                self.algorithms.insert(shape, chosen);
                chosen
            }
        };
        let (one, zero) = (1f32, 0f32);
        #[expect(unsafe_code, reason = "cuBLASLt's own call")]
        // SAFETY: the descriptions are alive, and the addresses are of memory that the runner holds, of these sizes.
        let begun = unsafe {
            result::matmul(
                self.handle,
                described.product,
                ptr::from_ref(&one).cast(),
                ptr::from_ref(&zero).cast(),
                product.weight as *const c_void,
                described.weight,
                product.x as *const c_void,
                described.x,
                product.out as *const c_void,
                described.out,
                product.out as *mut c_void,
                described.out,
                &algorithm,
                self.workspace.address as *mut c_void,
                WORKSPACE_BYTES,
                self.stream.cu_stream().cast(),
            )
        };
        begun.map_err(GpuError::blas("a matrix product"))
    }

    /// What cuBLASLt thinks is fastest.
    fn choose(
        &self,
        described: &Described,
        product: &Product,
    ) -> Result<sys::cublasLtMatmulAlgo_t, GpuError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let doing = "choosing how a matrix product is made";
        let preference = Preference(result::create_matmul_pref().map_err(GpuError::blas(doing))?);
        let alignments = [
            (
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                aligned(product.weight),
            ),
            (
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                aligned(product.x),
            ),
            (
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                aligned(product.out),
            ),
            (
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                aligned(product.out),
            ),
        ];
        for (attribute, bytes) in alignments {
            preference.set(attribute, &bytes)?;
        }
        let bytes = WORKSPACE_BYTES as u64;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes)?;
        #[expect(unsafe_code, reason = "cuBLASLt's own call")]
        // SAFETY: all descriptions are alive.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                self.handle,
                described.product,
                described.weight,
                described.x,
                described.out,
                described.out,
                preference.0,
            )
        };
        found.map(|found| found.algo).map_err(GpuError::blas(doing))
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        let _ = self.stream.synchronize();
        #[expect(unsafe_code, reason = "cuBLASLt's own call")]
        // SAFETY: `new` made it, and nothing on the stream uses it any more.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// What an address is a multiple of, as far as algorithms ask.
fn aligned(address: Pointer) -> u32 {
    1 << address.trailing_zeros().min(ALIGNMENT.ilog2())
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> Result<(), GpuError> {
        #[expect(unsafe_code, reason = "cuBLASLt's own call")]
        // SAFETY: it copies the value, which has the attribute's type.
        let set = unsafe {
            let value: *const T = value;
            result::set_matmul_pref_attribute(self.0, attribute, value.cast(), size_of::<T>())
        };
        set.map_err(GpuError::blas("choosing how a matrix product is made"))
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "cuBLASLt's own call")]
        // SAFETY: it was made with this, and is used no more.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// A product in cuBLASLt's words. It has matrices column by column, where a row of ours is a column of its: what is computed is
/// `yᵀ = W · xᵀ`, `W` being given as its transpose.
struct Described {
    product: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
}

impl Described {
    fn new(dtype: DType, product: &Product) -> Result<Self, GpuError> {
        use sys::{
            cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS, cublasLtMatmulDescAttributes_t as Attribute,
        };
        let failed = || GpuError::blas("describing a matrix product");
        let numbers = match dtype {
            DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
            DType::F16 => sys::cudaDataType::CUDA_R_16F,
            _ => sys::cudaDataType::CUDA_R_32F,
        };
        let out_numbers = if product.wide {
            sys::cudaDataType::CUDA_R_32F
        } else {
            numbers
        };
        let layout = |kind, rows: usize, columns: usize, stride: usize| {
            result::create_matrix_layout(kind, rows as u64, columns as u64, stride as i64)
        };
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let mut described = Self {
            product: result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)
                .map_err(failed())?,
            weight: ptr::null_mut(),
            x: ptr::null_mut(),
            out: ptr::null_mut(),
        };
        let Product {
            rows,
            inputs,
            outputs,
            out_stride,
            bias,
            ..
        } = *product;
        described.weight = layout(numbers, inputs, outputs, inputs).map_err(failed())?;
        described.x = layout(numbers, inputs, rows, inputs).map_err(failed())?;
        described.out = layout(out_numbers, outputs, rows, out_stride).map_err(failed())?;
        described.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        if bias != 0 {
            let epilogue = CUBLASLT_EPILOGUE_BIAS;
            described.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            described.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        Ok(described)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> Result<(), GpuError> {
        #[expect(unsafe_code, reason = "cuBLASLt's own call")]
        // SAFETY: it copies the value, which has the attribute's type.
        let set = unsafe {
            let value: *const T = value;
            result::set_matmul_desc_attribute(self.product, attribute, value.cast(), size_of::<T>())
        };
        set.map_err(GpuError::blas("describing a matrix product"))
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "cuBLASLt's own calls")]
        // SAFETY: `new` made them, and cuBLASLt keeps none of them behind a call.
        unsafe {
            let _ = result::destroy_matmul_desc(self.product);
            for layout in [self.weight, self.x, self.out] {
                if !layout.is_null() {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
        }
    }
}
