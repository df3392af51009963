//! Functions of one number, free of branches, so that a loop over them becomes vector instructions.

use half::bf16;

pub(in crate::model::ops) use crate::math::exp;

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
