//! Which vector instructions the processor has, found at run time, so that one program serves every machine; and functions
//! compiled once for each kind of them.

/// The widest form of the loops that the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Simd {
    /// avx512f, bw, dq and vl, and bf16: products of bf16 pairs.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// avx512f, bw, dq and vl.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// avx2 and fma.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor has.
    Portable,
}

impl Simd {
    pub(in crate::model::ops) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("fma");
            if avx512 && is_x86_feature_detected!("avx512bf16") {
                return Self::Avx512Bf16;
            }
            if avx512 {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every form that this processor has, the widest first: for tests.
    #[cfg(test)]
    pub(in crate::model::ops) fn available() -> Vec<Self> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            Self::Portable,
        ];
        let widest = Self::detect();
        all.into_iter().skip_while(|simd| *simd != widest).collect()
    }
}

pub(in crate::model::ops) use crate::math::multiply_add;

/// `out[i] = one(a[i], b[i])`, as far as `out` goes: 16 at a time, since a call for a tile or two is too short for the loops that
/// compilers make of it.
#[inline(always)]
pub(in crate::model::ops) fn zip_lanes<A, B, O>(
    (a, b): (&[A], &[B]),
    out: &mut [O],
    one: impl Fn(&A, &B) -> O,
) {
    const LANES: usize = 16;
    let (a, a_rest) = a[..out.len()].as_chunks::<LANES>();
    let (b, b_rest) = b[..out.len()].as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = one(a, b);
        }
    }
    for ((out, a), b) in out_rest.iter_mut().zip(a_rest).zip(b_rest) {
        *out = one(a, b);
    }
}

/// `out[i] = one(a[i])`, likewise.
#[inline(always)]
pub(in crate::model::ops) fn map_lanes<A, O>(a: &[A], out: &mut [O], one: impl Fn(&A) -> O) {
    zip_lanes((a, a), out, |a, _| one(a));
}

/// Defines a function whose first parameter is a [`Simd`]: its body is compiled once for each kind, with `fused` saying
/// whether [`multiply_add`] is one instruction there.
macro_rules! vectorized {
    (
        $(#[$doc:meta])*
        $vis:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? (
            $fused:ident; $($arg:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$doc])*
        $vis fn $name $(<$($generic: $bound),+>)? (
            simd: $crate::model::ops::kernels::simd::Simd, $($arg: $type),*
        ) $(-> $result)? {
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($fused: bool, $($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
            fn avx512 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $result)? {
                body $(::<$($generic),+>)? (true, $($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $result)? {
                body $(::<$($generic),+>)? (true, $($arg),*)
            }

            use $crate::model::ops::kernels::simd::Simd;
            match simd {
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "the processor's features were detected")]
                // SAFETY: `detect` returns these only on a processor that has the features.
                Simd::Avx512Bf16 | Simd::Avx512 => unsafe {
                    avx512 $(::<$($generic),+>)? ($($arg),*)
                },
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "the processor's features were detected")]
                // SAFETY: `detect` returns this only on a processor that has avx2 and fma.
                Simd::Avx2 => unsafe { avx2 $(::<$($generic),+>)? ($($arg),*) },
                Simd::Portable => body $(::<$($generic),+>)? (false, $($arg),*),
            }
        }
    };
}
pub(in crate::model::ops) use vectorized;
