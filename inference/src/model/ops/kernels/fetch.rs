//! Asking for lines of the caches before they are used. Whoever asks does not wait; asking changes no result.

/// Bytes of a line.
const LINE: usize = 64;

/// Some numbers are read soon.
#[inline(always)]
pub(in crate::model::ops) fn read_soon<T>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    each_line(numbers.as_ptr(), numbers.len(), |line| {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        #[expect(unsafe_code, reason = "an instruction of sse")]
        // SAFETY: every x86-64 has sse; any address may be asked for.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line)
        }
    });
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// The lines that the numbers lie in.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[inline(always)]
fn each_line<T>(start: *const T, count: usize, ask: impl Fn(*const i8)) {
    if count == 0 {
        return;
    }
    let end = start.wrapping_add(count).cast::<i8>();
    let mut line = start.cast::<i8>().map_addr(|at| at & !(LINE - 1));
    while line < end {
        ask(line);
        line = line.wrapping_add(LINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_numbers_is_asked_for_once() {
        let numbers = [0u16; 200];
        for (from, count) in [(0, 0), (0, 1), (3, 64), (31, 2), (5, 195)] {
            let asked = std::cell::RefCell::new(Vec::new());
            let start = &numbers[from..];
            each_line(start.as_ptr(), count, |line| {
                asked.borrow_mut().push(line.addr() / LINE);
            });
            let places = start[..count].iter();
            let mut lines: Vec<_> = places
                .map(|number| std::ptr::from_ref(number).addr() / LINE)
                .collect();
            lines.dedup();
            assert_eq!(asked.into_inner(), lines);
        }
    }
}
