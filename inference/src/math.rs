//! Functions of one number, free of branches, so that a loop over them becomes vector instructions.

/// `a · b + c`, in one rounding where `fused`: fast only where the processor does that at once.
#[inline(always)]
pub(crate) fn multiply_add(fused: bool, a: f32, b: f32, c: f32) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}

/// e^x, within 2 units in the last place; 0 below -87.3, and infinite above 88.7. NaN stays NaN.
///
/// Unfused it is the same everywhere, on GPUs too (`exact_exp` of their kernels): which token a seed draws goes by it.
#[inline(always)]
pub(crate) fn exp(fused: bool, x: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds to a whole number.
    const ROUNDER: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with zeros at its end, so that a whole number times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.336_54, 88.722_83);
    let moved = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let power = moved - ROUNDER;
    let rest = multiply_add(fused, power, -LN_2_HIGH, clamped);
    let rest = multiply_add(fused, power, -LN_2_LOW, rest);
    // Taylor's series to the sixth power, |rest| <= ln 2 / 2, with the coefficients moved to even out the error.
    let mut sum = 1.389_199_7e-3;
    for coefficient in [8.372_654e-3, 4.166_654_4e-2, 0.166_665_02, 0.5, 1.0, 1.0] {
        sum = multiply_add(fused, sum, rest, coefficient);
    }
    // 2^power in two factors: the power of the greatest numbers is beyond the exponents of f32.
    // Read from the bits, where it stands: `as` has no vector instruction, for it saturates.
    let whole = (moved.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let half = whole >> 1;
    let two_to = |power: i32| f32::from_bits(((power + 127) << 23) as u32);
    let value = sum * two_to(half) * two_to(whole - half);
    let value = if x < -87.336_54 { 0.0 } else { value };
    let value = if x > 88.722_83 { f32::INFINITY } else { value };
    if x.is_nan() { x } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for fused in [false, true] {
            for step in -88_000..=88_000 {
                let x = step as f32 * 1e-3;
                let (seen, exact) = (exp(fused, x), f64::from(x).exp());
                if x < -87.336_54 {
                    assert_eq!(seen, 0.0);
                    continue;
                }
                let unit = f64::from(f32::from_bits((exact as f32).to_bits() + 1))
                    - f64::from(exact as f32);
                assert!(
                    (f64::from(seen) - exact).abs() <= 2.0 * unit,
                    "exp({x}) = {seen}"
                );
            }
            assert_eq!(exp(fused, f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(fused, f32::INFINITY), f32::INFINITY);
            assert_eq!(exp(fused, 0.0), 1.0);
            assert!(exp(fused, f32::NAN).is_nan());
        }
    }
}
