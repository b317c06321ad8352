//! The 80-bit floating-point numbers in which Redis on x86-64 does `INCRBYFLOAT`, in software.
//!
//! Promises: reading, adding and printing round as the x87 and glibc do (to nearest, ties to even, a 64-bit
//! significand), so that replies are those of Redis digit for digit. Does not read hexadecimal numbers.

/// A finite number: `significand` · 2^`exponent`. The significand's top bit is set unless it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    significand: u64,
    exponent: i32,
}

/// The exponent of the largest long double with its 64-bit significand taken as an integer.
const MAX_EXPONENT: i32 = 16383 - 63;
/// The same of the smallest one that is not zero. Between it and the smallest normal one a long double has
/// fewer bits, but nothing that small is ever seen in print.
const MIN_EXPONENT: i32 = -16445 - 63;
/// Longest text that Redis reads as a number.
const MAX_TEXT: usize = 5 * 1024;
/// Powers of ten beyond this, upwards and downwards, are out of range.
const MAX_MAGNITUDE: i64 = 4_960;
/// Digits after the point that are printed before trailing zeros go.
const FRACTION_DIGITS: usize = 17;

impl LongDouble {
    pub const ZERO: LongDouble = LongDouble { negative: false, significand: 0, exponent: 0 };

    /// The number that `text` is: decimal, with an optional sign, point and exponent, and nothing around it.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= MAX_TEXT {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&text[..at], decimal_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, b"".as_slice()),
        };
        let digits = || whole.iter().chain(fraction);
        if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
            return None;
        }
        let significant = digits().skip_while(|digit| **digit == b'0').count() as i64;
        if significant == 0 {
            return Some(LongDouble { negative, ..LongDouble::ZERO });
        }
        let exponent = exponent - fraction.len() as i64;
        // Far out of range: not worth the arithmetic.
        if !(-MAX_MAGNITUDE..=MAX_MAGNITUDE).contains(&(significant + exponent)) {
            return None;
        }
        let mut numerator = Natural::default();
        digits().for_each(|digit| numerator.multiply_add(10, u64::from(digit - b'0')));
        let mut denominator = Natural::one();
        let scaled = if exponent < 0 { &mut denominator } else { &mut numerator };
        (0..exponent.unsigned_abs()).for_each(|_| scaled.multiply_add(10, 0));
        divided(negative, numerator, denominator)
    }

    /// The sum, or `None` if it is infinite.
    pub fn add(self, other: LongDouble) -> Option<LongDouble> {
        if self.significand == 0 || other.significand == 0 {
            let sum = if self.significand == 0 { other } else { self };
            return Some(sum);
        }
        let (big, small) = if (self.exponent, self.significand) >= (other.exponent, other.significand) {
            (self, other)
        } else {
            (other, self)
        };
        // 62 bits below the significand, and one above it for the carry. What a shift pushes out at the
        // bottom leaves its mark in the lowest bit, which is all that rounding needs to know of it.
        const BELOW: i32 = 62;
        let distance = (big.exponent - small.exponent) as u32;
        let high = u128::from(big.significand) << BELOW;
        let low = shifted_right_sticky(u128::from(small.significand) << BELOW, distance);
        let sum = if big.negative == small.negative { high + low } else { high - low };
        rounded(big.negative, sum, big.exponent - BELOW)
    }

    /// In decimal, without an exponent, at most 17 digits after the point, trailing zeros removed.
    pub fn print(self) -> String {
        let (mut whole, fraction) = if self.exponent >= 0 {
            (Natural::shifted(self.significand, self.exponent as u32), 0)
        } else {
            self.split()
        };
        let unit = 10u64.pow(FRACTION_DIGITS as u32);
        let fraction = if fraction == unit {
            whole.multiply_add(1, 1);
            0
        } else {
            fraction
        };
        let sign = if self.negative && !(whole.is_zero() && fraction == 0) { "-" } else { "" };
        let digits = format!("{fraction:0FRACTION_DIGITS$}");
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        format!("{sign}{}{point}{digits}", whole.decimal())
    }

    /// The whole part, and the rest in units of 10^-17, rounded; for numbers with bits after the point.
    fn split(self) -> (Natural, u64) {
        let bits = self.exponent.unsigned_abs();
        let (whole, rest) = match bits {
            ..64 => (self.significand >> bits, self.significand & ((1 << bits) - 1)),
            _ => (0, self.significand),
        };
        let scaled = u128::from(rest) * 10u128.pow(FRACTION_DIGITS as u32);
        let fraction = match bits {
            ..=126 => {
                let half = 1u128 << (bits - 1);
                let (quotient, remainder) = (scaled >> bits, scaled & ((1 << bits) - 1));
                let up = remainder > half || (remainder == half && quotient & 1 == 1);
                quotient + u128::from(up)
            }
            // Less than 2^121 / 2^127: less than half a unit.
            _ => 0,
        };
        (Natural::shifted(whole, 0), fraction as u64)
    }
}

/// The digits after `e`, with an optional sign; beyond any range it stays beyond.
fn decimal_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // The digits of one text cannot bring a larger exponent back into range.
    const BEYOND: i64 = 2 * (MAX_MAGNITUDE + MAX_TEXT as i64);
    let step = |value: i64, digit: &u8| (value * 10 + i64::from(digit - b'0')).min(BEYOND);
    let value = digits.iter().fold(0, step);
    Some(if negative { -value } else { value })
}

/// `value` / 2^`distance`, with the lowest bit set if anything was lost.
fn shifted_right_sticky(value: u128, distance: u32) -> u128 {
    match distance {
        0 => value,
        1..128 => (value >> distance) | u128::from(value & ((1 << distance) - 1) != 0),
        _ => 1,
    }
}

/// `value` · 2^`exponent` rounded to 64 bits, ties to even; `None` if it is out of range.
fn rounded(negative: bool, value: u128, exponent: i32) -> Option<LongDouble> {
    if value == 0 {
        return Some(LongDouble::ZERO);
    }
    let excess = 64 - value.leading_zeros() as i32;
    let (mut significand, mut exponent) = if excess <= 0 {
        ((value << -excess) as u64, exponent + excess)
    } else {
        let half = 1u128 << (excess - 1);
        let (kept, lost) = ((value >> excess) as u64, value & ((1 << excess) - 1));
        let up = lost > half || (lost == half && kept & 1 == 1);
        match kept.checked_add(up.into()) {
            Some(significand) => (significand, exponent + excess),
            None => (1 << 63, exponent + excess + 1),
        }
    };
    if exponent < MIN_EXPONENT {
        (significand, exponent) = (0, 0);
    }
    (exponent <= MAX_EXPONENT).then_some(LongDouble { negative, significand, exponent })
}

/// `numerator` / `denominator` rounded to 64 bits; both are positive.
fn divided(negative: bool, mut numerator: Natural, mut denominator: Natural) -> Option<LongDouble> {
    /// Bits of the quotient: 64, one to round by, and one for the uncertainty of its length.
    const BITS: i32 = 66;
    // numerator / denominator is in (1/2, 2) · 2^scale.
    let scale = numerator.bits() as i32 - denominator.bits() as i32;
    let shift = BITS - scale;
    if shift >= 0 {
        numerator.shift_left(shift as u32);
    } else {
        denominator.shift_left(-shift as u32);
    }
    // Now the quotient has BITS or BITS + 1 bits: long division, one bit at a time.
    denominator.shift_left(BITS as u32);
    let mut quotient = 0u128;
    for _ in 0..=BITS {
        quotient <<= 1;
        if numerator.subtract_if_not_less(&denominator) {
            quotient |= 1;
        }
        numerator.shift_left(1);
    }
    let sticky = u128::from(!numerator.is_zero());
    rounded(negative, quotient << 1 | sticky, -shift - 1).filter(|number| number.significand != 0)
}

/// A natural number of any size: 32 bits per limb, the lowest first, no zero limbs at the top.
#[derive(Clone, Debug, Default)]
struct Natural(Vec<u32>);

impl Natural {
    fn one() -> Natural {
        Natural(vec![1])
    }

    /// `value` · 2^`bits`.
    fn shifted(value: u64, bits: u32) -> Natural {
        let mut natural = Natural(vec![value as u32, (value >> 32) as u32]);
        natural.trim();
        natural.shift_left(bits);
        natural
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> u32 {
        self.0.last().map_or(0, |top| self.0.len() as u32 * 32 - top.leading_zeros())
    }

    /// `self` · `factor` + `more`; both below 2^32.
    fn multiply_add(&mut self, factor: u64, more: u64) {
        let mut carry = more;
        for limb in &mut self.0 {
            carry += u64::from(*limb) * factor;
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, bits: u32) {
        if self.is_zero() || bits == 0 {
            return;
        }
        self.multiply_add(1 << (bits % 32), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, bits as usize / 32));
    }

    /// Subtract `other` and say so, unless `self` is less.
    fn subtract_if_not_less(&mut self, other: &Natural) -> bool {
        let order = self.0.len().cmp(&other.0.len());
        if order.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())).is_lt() {
            return false;
        }
        let mut borrow = 0i64;
        for (i, limb) in self.0.iter_mut().enumerate() {
            borrow += i64::from(*limb) - i64::from(other.0.get(i).copied().unwrap_or(0));
            *limb = borrow as u32;
            borrow >>= 32;
        }
        self.trim();
        true
    }

    fn decimal(mut self) -> String {
        /// The largest power of ten below 2^32, and its zeros.
        const CHUNK: (u64, usize) = (1_000_000_000, 9);
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                rest = rest << 32 | u64::from(*limb);
                *limb = (rest / CHUNK.0) as u32;
                rest %= CHUNK.0;
            }
            self.trim();
            chunks.push(rest);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        chunks.iter().rev().for_each(|chunk| text.push_str(&format!("{chunk:0width$}", width = CHUNK.1)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        Some(LongDouble::parse(a.as_bytes())?.add(LongDouble::parse(b.as_bytes())?)?.print())
    }

    #[test]
    fn sums_that_redis_prints() {
        let cases = [
            ("0", "0.1", "0.1"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3", "0"),
            ("-0.5", "0.25", "-0.25"),
            ("1e18", "1", "1000000000000000001"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1e-18", "0", "0"),
            ("-1e-30", "0", "0"),
            ("0.99999999999999999999", "0", "1"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("17179869184", "1.5", "17179869185.5"),
            (".5", "5.", "5.5"),
        ];
        for (a, b, expected) in cases {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
    }

    #[test]
    fn large_numbers_are_printed_in_full() {
        // The nearest long double lies a little below 10^4000.
        let text = sum("1e4000", "0").expect("in range");
        assert!(text.len() == 4000 && text.starts_with("9999999999999999999"), "{text}");
        assert_eq!(sum("1e5000", "0"), None);
        assert_eq!(sum("1e4932", "1e4932"), None);
        assert_eq!(sum("1e-6000", "0"), None);
    }

    #[test]
    fn what_is_not_a_number() {
        for text in
            ["", ".", "e5", "1e", "1e+", " 1", "1 ", "abc", "1.2.3", "--1", "nan", "0x10", "1e999999999999"]
        {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
    }
}
