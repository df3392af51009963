//! Functions of one number, free of branches, so that a loop over them becomes vector instructions.

use half::bf16;

/// e^x, within 2 units in the last place; 0 below -87.3, and infinite above 88.7. NaN stays NaN.
#[inline(always)]
pub(in crate::model::ops) fn exp(fused: bool, x: f32) -> f32 {
    use super::simd::multiply_add;
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

/// tanh(x), within 3e-7.
#[inline(always)]
pub(in crate::model::ops) fn tanh(fused: bool, x: f32) -> f32 {
    // exp is infinite or 0 at the ends, and the quotient right.
    1.0 - 2.0 / (exp(fused, 2.0 * x) + 1.0)
}

/// All lanes in one, half by half: a sum or the greatest, without waiting for each lane in turn.
#[inline(always)]
pub(in crate::model::ops) fn across(mut lanes: [f32; 16], of: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low = of(*low, *high);
        }
    }
    lanes[0]
}

/// To the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(in crate::model::ops) fn round_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x40;
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    bf16::from_bits(if is_nan { nan as u16 } else { rounded as u16 })
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

    #[test]
    fn every_lane_is_in_the_one() {
        let lanes: [f32; 16] = std::array::from_fn(|lane| ((lane * 7) % 16) as f32);
        assert_eq!(across(lanes, |a, b| a + b), 120.0);
        assert_eq!(across(lanes, f32::max), 15.0);
    }

    #[test]
    fn tanh_is_close_everywhere() {
        for step in -20_000..=20_000 {
            let x = step as f32 * 1e-2;
            assert!((tanh(true, x) - x.tanh()).abs() <= 3e-7, "tanh({x})");
        }
    }

    #[test]
    fn rounding_is_that_of_the_type() {
        let steps = (0..=u32::MAX).step_by(9_973).map(f32::from_bits);
        let edges = [
            0x3f80_8000,
            0x3f81_8000,
            0x7f7f_ffff,
            0x7f80_0000,
            0xff80_0000,
            0x7f80_0001,
            0x7fff_ffff,
            1,
        ];
        for value in steps.chain(edges.map(f32::from_bits)) {
            let (seen, expected) = (round_bf16(value), bf16::from_f32(value));
            assert!(
                seen.to_bits() == expected.to_bits() || (seen.is_nan() && expected.is_nan()),
                "{value}"
            );
        }
    }
}
