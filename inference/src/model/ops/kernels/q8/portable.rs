//! The products in plain code.

use half::f16;

use super::{GROUP, TILE, activations::Block, weights::Tile};

pub(super) fn multiply<'a>(
    tile: Tile<'_>,
    x: &[Block],
    places: impl ExactSizeIterator<Item = &'a mut [f32; TILE]>,
) {
    let tokens = places.len();
    let mut all = [[0f32; TILE]; GROUP];
    let sums = &mut all[..tokens];
    for ((lines, scales), x) in tile
        .lines
        .iter()
        .zip(tile.scales)
        .zip(x.chunks_exact(tokens))
    {
        let scales = scales.0.map(f16::to_f32);
        for (sums, x) in sums.iter_mut().zip(x) {
            let mut dots = [x.correction; TILE];
            for (line, x) in lines.iter().zip(&x.quads) {
                for (dot, w) in dots.iter_mut().zip(&line.0) {
                    let product = |(&w, &x): (&u8, &i8)| i32::from(w) * i32::from(x);
                    *dot += w.iter().zip(x).map(product).sum::<i32>();
                }
            }
            for ((sum, dot), scale) in sums.iter_mut().zip(dots).zip(scales) {
                *sum += dot as f32 * (scale * x.scale);
            }
        }
    }
    places.zip(all).for_each(|(place, sums)| *place = sums);
}
