//! The widest instructions of the machine that this runs on, chosen when it runs: what is deployed has to run on any x86-64.
//!
//! The only unsafe code of this crate: two calls, each of a function that is compiled for certain instructions. A
//! [`Simd`] of that kind is made nowhere but where the processor has just been asked for all of them.
#![allow(unsafe_code)]

use super::marks::{Piece, WINDOW, Window};

/// What 64 bytes are: bit n of each word is about byte n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub quotes: u64,
    pub slashes: u64,
    /// Control characters, which JSON has in no string.
    pub controls: u64,
    pub colons: u64,
    pub commas: u64,
    /// `[` and `{`.
    pub opens: u64,
    /// `]` and `}`.
    pub closes: u64,
    /// Of the brackets those that are braces, and some other characters.
    pub braces: u64,
    /// Bytes of characters that are not ASCII.
    pub wide: u64,
}

/// Something that looks at text 64 bytes at a time. To be compiled for each level, all of it has to be inlined.
pub trait Task {
    type Done;

    /// `look` tells what the bytes of a window are. `pack` writes those of the window at the start of a piece that are kept one
    /// behind the other; what it writes behind them is of no meaning.
    fn by(self, look: impl Fn(&Window) -> Seen, pack: impl Fn(&Piece, u64, &mut Piece)) -> Self::Done;
}

/// Instructions that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// AVX-512 with byte masks and the packing of bytes (since Ice Lake and Zen 4).
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and what came with it (since Haswell and Zen).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Any machine.
    Least,
}

impl Simd {
    /// The best one.
    #[inline]
    pub fn best() -> Self {
        Self::avx512().or_else(Self::avx2).unwrap_or(Self(Kind::Least))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn avx512() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(Kind::Avx512))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn avx2() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(Kind::Avx2))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn avx512() -> Option<Self> {
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn avx2() -> Option<Self> {
        None
    }

    #[inline]
    pub fn run<T: Task>(self, task: T) -> T::Done {
        match self.0 {
            // Safety: see the head of the module.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { x86::by_avx512(task) },
            // Safety: the same.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { x86::by_avx2(task) },
            Kind::Least => task.by(least::look, least::pack),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use bytemuck::must_cast;

    use super::*;

    /// This bit makes a brace of a bracket.
    const BRACE: i8 = (b'[' ^ b'{') as i8;
    /// The last control character.
    const CONTROL: i8 = 0x1F;

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt")]
    pub fn by_avx512<T: Task>(task: T) -> T::Done {
        task.by(
            |window| {
                let bytes: __m512i = must_cast(*window);
                let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
                let braced = _mm512_or_si512(bytes, _mm512_set1_epi8(BRACE));
                Seen {
                    quotes: is(b'"'),
                    slashes: is(b'\\'),
                    controls: _mm512_cmple_epu8_mask(bytes, _mm512_set1_epi8(CONTROL)),
                    colons: is(b':'),
                    commas: is(b','),
                    opens: _mm512_cmpeq_epi8_mask(braced, _mm512_set1_epi8(b'{' as i8)),
                    closes: _mm512_cmpeq_epi8_mask(braced, _mm512_set1_epi8(b'}' as i8)),
                    braces: _mm512_test_epi8_mask(bytes, _mm512_set1_epi8(BRACE)),
                    wide: _mm512_movepi8_mask(bytes),
                }
            },
            |piece, kept, to| {
                let [window, _]: [__m512i; 2] = must_cast(*piece);
                let packed: Window = must_cast(_mm512_maskz_compress_epi8(kept, window));
                to[..WINDOW].copy_from_slice(&packed);
            },
        )
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub fn by_avx2<T: Task>(task: T) -> T::Done {
        task.by(
            |window| {
                let halves: [__m256i; 2] = must_cast(*window);
                let mask = |[first, second]: [__m256i; 2]| {
                    let low = _mm256_movemask_epi8(first) as u32;
                    let high = _mm256_movemask_epi8(second) as u32;
                    u64::from(high) << 32 | u64::from(low)
                };
                let are = |halves: [__m256i; 2], byte: u8| {
                    mask(halves.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))))
                };
                let is = |byte| are(halves, byte);
                let braced = halves.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(BRACE)));
                let last = _mm256_set1_epi8(CONTROL);
                Seen {
                    quotes: is(b'"'),
                    slashes: is(b'\\'),
                    controls: mask(halves.map(|half| _mm256_cmpeq_epi8(_mm256_max_epu8(half, last), last))),
                    colons: is(b':'),
                    commas: is(b','),
                    opens: are(braced, b'{'),
                    closes: are(braced, b'}'),
                    // The bit becomes the highest one, of which masks are made.
                    braces: mask(halves.map(|half| _mm256_slli_epi16::<2>(half))),
                    wide: mask(halves),
                }
            },
            |piece, mut kept, to| {
                let mut at = 0;
                for eight in piece[..WINDOW].as_chunks::<8>().0 {
                    let places = _mm_cvtsi64_si128(PLACES[(kept & 0xFF) as usize] as i64);
                    let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(*eight));
                    let packed = _mm_cvtsi128_si64(_mm_shuffle_epi8(bytes, places));
                    // The remainder changes nothing: no more is kept than there was.
                    to[at % WINDOW..at % WINDOW + 8].copy_from_slice(&packed.to_le_bytes());
                    at += (kept & 0xFF).count_ones() as usize;
                    kept >>= 8;
                }
            },
        )
    }

    /// For each way to keep some of eight bytes, the places of those that are kept.
    static PLACES: [u64; 256] = {
        let mut all = [0; 256];
        let mut kept = 0;
        while kept < all.len() {
            let (mut place, mut at) = (0, 0);
            while place < 8 {
                if kept >> place & 1 == 1 {
                    all[kept] |= (place as u64) << (8 * at);
                    at += 1;
                }
                place += 1;
            }
            kept += 1;
        }
        all
    };
}

mod least {
    use wide::u8x64;

    use super::*;

    #[inline(always)]
    pub fn look(window: &Window) -> Seen {
        const BRACE: u8 = b'[' ^ b'{';
        let bytes = u8x64::new(*window);
        let braced = bytes | u8x64::splat(BRACE);
        Seen {
            quotes: are(bytes, b'"'),
            slashes: are(bytes, b'\\'),
            controls: are(bytes.max(u8x64::splat(0x1F)), 0x1F),
            colons: are(bytes, b':'),
            commas: are(bytes, b','),
            opens: are(braced, b'{'),
            closes: are(braced, b'}'),
            braces: are(bytes & u8x64::splat(BRACE), BRACE),
            // The highest bits are those that a mask is made of.
            wide: bytes.to_bitmask(),
        }
    }

    #[inline(always)]
    fn are(bytes: u8x64, byte: u8) -> u64 {
        bytes.simd_eq(u8x64::splat(byte)).to_bitmask()
    }

    /// Copies run by run. Most are short: copying more than their bytes, which the next run overwrites, is faster than
    /// counting.
    #[inline(always)]
    pub fn pack(piece: &Piece, kept: u64, to: &mut Piece) {
        const HALF: usize = WINDOW / 2;
        let (mut from, mut at, mut left_out) = (0, 0, !kept);
        loop {
            let end = if left_out == 0 { WINDOW } else { left_out.trailing_zeros() as usize };
            // The remainders change nothing: where a run begins at the end of the window, nothing is left to be copied.
            let (first, put) = (from % WINDOW, at % WINDOW);
            to[put..put + HALF].copy_from_slice(&piece[first..first + HALF]);
            if end > from + HALF {
                to[put + HALF..put + 2 * HALF].copy_from_slice(&piece[first + HALF..first + 2 * HALF]);
            }
            at += end - from;
            if left_out == 0 {
                return;
            }
            from = end + 1;
            left_out &= left_out - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Simd {
        /// Those that this machine has.
        pub fn all() -> impl Iterator<Item = Self> {
            [Self::avx512(), Self::avx2(), Some(Self(Kind::Least))].into_iter().flatten()
        }
    }

    struct Looking<'t>(&'t Window, u64);

    impl Task for Looking<'_> {
        type Done = (Seen, Piece);

        #[inline(always)]
        fn by(self, look: impl Fn(&Window) -> Seen, pack: impl Fn(&Piece, u64, &mut Piece)) -> Self::Done {
            let (mut piece, mut packed) = ([b'-'; 2 * WINDOW], [0; 2 * WINDOW]);
            piece[..WINDOW].copy_from_slice(self.0);
            pack(&piece, self.1, &mut packed);
            (look(self.0), packed)
        }
    }

    proptest! {
        #[test]
        fn all_levels_see_the_same(bytes in prop::collection::vec(any::<u8>(), WINDOW), kept: u64, likely: bool) {
            let kept = if likely { kept | kept.rotate_left(7) | kept.rotate_left(19) } else { kept };
            let window: Window = bytes.try_into().unwrap();
            let bits = |is: fn(u8) -> bool| (0..WINDOW).filter(|at| is(window[*at])).fold(0, |bits, at| bits | 1 << at);
            let expected = Seen {
                quotes: bits(|byte| byte == b'"'),
                slashes: bits(|byte| byte == b'\\'),
                controls: bits(|byte| byte < 0x20),
                colons: bits(|byte| byte == b':'),
                commas: bits(|byte| byte == b','),
                opens: bits(|byte| b"[{".contains(&byte)),
                closes: bits(|byte| b"]}".contains(&byte)),
                braces: bits(|byte| byte & 0x20 != 0),
                wide: bits(|byte| byte >= 0x80),
            };
            let packed: Vec<u8> = (0..WINDOW).filter(|at| kept >> at & 1 == 1).map(|at| window[at]).collect();
            for level in Simd::all() {
                let (seen, found) = level.run(Looking(&window, kept));
                prop_assert_eq!(seen, expected, "{:?}", level);
                prop_assert_eq!(&found[..packed.len()], &packed[..], "{:?}", level);
            }
        }
    }
}
