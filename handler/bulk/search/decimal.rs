//! Decimal numbers as they are written: compared exactly, however many digits they have.

use std::cmp::Ordering;

/// A number: its sign, and `0.digits × 10^point`. Digits have no zeros at either end; of zero there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    point: i64,
    digits: String,
}

/// A number of a search, which is as exact as it is written: `digits × 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    digits: i128,
    exponent: i64,
}

/// More digits than anybody writes, and few enough to calculate with.
const MOST_DIGITS: usize = 36;

impl Decimal {
    /// A JSON number.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, digits, exponent) = parts(text)?;
        Some(Self::new(is_negative, &digits, exponent))
    }

    fn new(is_negative: bool, digits: &str, exponent: i64) -> Self {
        let digits = digits.trim_start_matches('0');
        let point = exponent.saturating_add(digits.len() as i64);
        let digits = digits.trim_end_matches('0');
        match digits {
            "" => Self { is_negative: false, point: 0, digits: String::new() },
            _ => Self { is_negative, point, digits: digits.into() },
        }
    }

    fn signum(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = || match self.signum() {
            0 => Ordering::Equal,
            // What stands behind the point is in the order of its text.
            1 => (self.point, &self.digits).cmp(&(other.point, &other.digits)),
            _ => (other.point, &other.digits).cmp(&(self.point, &self.digits)),
        };
        self.signum().cmp(&other.signum()).then_with(magnitude)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Written {
    /// `None` if it is no number, or has more than 36 digits.
    pub fn read(text: &str) -> Option<Self> {
        let (is_negative, digits, exponent) = parts(text)?;
        let magnitude: i128 = Some(digits).filter(|digits| digits.len() <= MOST_DIGITS)?.parse().ok()?;
        Some(Self { digits: if is_negative { -magnitude } else { magnitude }, exponent })
    }

    pub fn value(&self) -> Decimal {
        decimal(self.digits, self.exponent)
    }

    /// Half a unit of its last digit to both sides: `100` is everything from 99.5 to below 100.5, and `5.40` from 5.395 to
    /// below 5.405. Of `1e2` the last digit is the 1.
    pub fn rounded(&self) -> (Decimal, Decimal) {
        self.around(5)
    }

    /// A tenth of itself to both sides.
    pub fn about(&self) -> (Decimal, Decimal) {
        self.around(self.digits.abs())
    }

    /// So many tenths of a unit to both sides.
    fn around(&self, tenths: i128) -> (Decimal, Decimal) {
        let (exact, exponent) = (self.digits * 10, self.exponent.saturating_sub(1));
        (decimal(exact - tenths, exponent), decimal(exact + tenths, exponent))
    }
}

fn decimal(digits: i128, exponent: i64) -> Decimal {
    Decimal::new(digits < 0, &digits.unsigned_abs().to_string(), exponent)
}

/// Whether it is negative, its digits without the point, and the exponent of ten of the last one.
fn parts(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let valid = !whole.is_empty() && are_digits(whole) && are_digits(fraction);
    valid.then(|| (is_negative, format!("{whole}{fraction}"), i64::from(exponent) - fraction.len() as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_in_their_order_to_the_last_digit() {
        let ascending = [
            "-1e3",
            "-100.000000000000000001",
            "-100",
            "-0.02",
            "0",
            "1e-400",
            "0.123456789012345678",
            "0.123456789012345679",
            "0.5",
            "9.99",
            "10",
            "1e1000000",
        ];
        for (index, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(of(a).cmp(&of(b)), index.cmp(&other), "{a} {b}");
            }
        }
        for (a, b) in [("0", "-0.00"), ("1.0", "1"), ("1e2", "100"), ("0.05e+1", "0.5"), ("007", "7"), ("0e9", "0")] {
            assert_eq!(of(a), of(b));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", "+5", "5.", ".5", "1e", "1e2.5", "0x1", "\"5\"", "5 ", "--5", "NaN", "1e99999999999", "٣"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
            assert_eq!(Written::read(text), None, "{text}");
        }
        assert_eq!(Written::read(&"1".repeat(37)), None);
        assert!(Written::read(&"9".repeat(36)).is_some());
    }

    #[test]
    fn a_number_is_as_exact_as_it_is_written() {
        for (text, low, high) in [
            ("100", "99.5", "100.5"),
            ("100.00", "99.995", "100.005"),
            ("-5.4", "-5.45", "-5.35"),
            ("0", "-0.5", "0.5"),
            ("0.0", "-0.05", "0.05"),
            ("1e2", "50", "150"),
            ("9e-3", "0.0085", "0.0095"),
        ] {
            assert_eq!(Written::read(text).unwrap().rounded(), (of(low), of(high)), "{text}");
        }
        for (text, low, high) in
            [("100", "90", "110"), ("-20", "-22", "-18"), ("0", "0", "0"), ("5.55", "4.995", "6.105")]
        {
            assert_eq!(Written::read(text).unwrap().about(), (of(low), of(high)), "{text}");
        }
        let most = Written::read(&"9".repeat(36)).unwrap();
        assert!(most.about().0 < most.value() && most.value() < most.rounded().1);
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_integers_with_the_same_unit(a in -2000i64..2000, b in -2000i64..2000, scale in 0usize..4) {
            // The same number with its point moved by `scale`, and perhaps written with an exponent.
            let spelled = |n: i64| match scale {
                0 => n.to_string(),
                _ => {
                    let digits = format!("{:0width$}", n.unsigned_abs(), width = scale + 1);
                    let (whole, fraction) = digits.split_at(digits.len() - scale);
                    format!("{}{whole}.{fraction}", if n < 0 { "-" } else { "" })
                }
            };
            prop_assert_eq!(of(&spelled(a)).cmp(&of(&spelled(b))), a.cmp(&b));
            prop_assert_eq!(of(&spelled(a)), of(&format!("{a}e-{scale}")));
        }
    }
}
